"""The integer arithmetic of every op, written a second time: NumPy on dense arrays [C, D, H, W], without the runtime's
blocks, rows and vectors. A model takes codes as they are stored (u8, i16, int8 weights) and computes in int64; where 64 bits
do not hold the exact value it takes Python's integers. Formulas and ranges are those of docs/arithmetic.md and of the comment
at the head of each op in Sources/Ops."""
