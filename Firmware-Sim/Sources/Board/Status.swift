/// How a run on a board ends: the program's exit status. Every fault has its own.
enum Status: Int32 {
    case done = 0
    case usage = 2
    /// The flash does not hold a sound model file (`ModelFileError`).
    case modelDamaged = 10
    /// The model cannot run on this volume or in this way (`RuntimeError`).
    case runRefused = 11
    case arenaTooSmall = 12
    /// A buffer's guard words were overwritten.
    case memoryCorrupted = 13
    /// A slice is later than four periods.
    case scannerStalled = 20
    case scannerDropped = 21
    case scannerRepeated = 22
    case scannerReordered = 23
    /// A slice's checksum is wrong.
    case scannerDamaged = 24
    /// A slice arrived while the one before it was still waiting: the board is too slow for the scanner.
    case scannerOverrun = 25
    // 31 trap, 32 memory asked for after opening, 33 stack overflow: board.c.
}
