/// The part of a slice that an op between grids works on when only parts are in memory. Layouts may be rings of slices: slice z
/// lies in slot z mod layout.extent.depth.
public struct PlaneView: Equatable, Sendable {
    /// First row and column of the whole output and the whole input that are held.
    public var outputY: Int
    public var outputX: Int
    public var inputY: Int
    public var inputX: Int
    /// Of the whole input.
    public var inputExtent: Extent

    public init(outputY: Int, outputX: Int, inputY: Int, inputX: Int, inputExtent: Extent) {
        self.outputY = outputY
        self.outputX = outputX
        self.inputY = inputY
        self.inputX = inputX
        self.inputExtent = inputExtent
    }

    /// All of it is there.
    public init(_ input: TensorLayout) {
        self.init(outputY: 0, outputX: 0, inputY: 0, inputX: 0, inputExtent: input.extent)
    }

    /// Byte offset of row y and column x of slice z of the whole input, in the layout that holds a part.
    func offset(_ layout: TensorLayout, block: Int, z: Int, y: Int, x: Int) -> Int {
        layout.rowOffset(block: block, z: z % layout.extent.depth, y: y - inputY) + (x - inputX) * 4
    }
}
