/// Normalization with statistics of the input itself: over the voxels of a group of channels, per channel gain and shift.
///
/// `groups` equal to the channels is instance normalization. The variance is the biased one, as in PyTorch. Statistics of a network
/// of two axes are those of each slice.
public struct GroupNorm: Equatable, Sendable {
    /// Divides the number of channels.
    public var groups: Int
    /// One per channel.
    public var scale: [Float]
    public var shift: [Float]
    public var epsilon: Double
    public var isPerSlice: Bool

    public init(groups: Int, scale: [Float], shift: [Float], epsilon: Double, isPerSlice: Bool = false) {
        self.isPerSlice = isPerSlice
        self.groups = groups
        self.scale = scale
        self.shift = shift
        self.epsilon = epsilon
    }
}

/// Normalization of each voxel over its channels (Ba et al. 2016, arXiv 1607.06450), per channel gain and shift.
public struct LayerNorm: Equatable, Sendable {
    public var scale: [Float]
    public var shift: [Float]
    public var epsilon: Double

    public init(scale: [Float], shift: [Float], epsilon: Double) {
        self.scale = scale
        self.shift = shift
        self.epsilon = epsilon
    }
}

/// A convolution of each channel on its own, stride 1, zero padding that keeps the size, odd kernel.
public struct DepthwiseConv: Equatable, Sendable {
    public var kernel: Size3
    /// `[channel][kz][ky][kx]`
    public var weights: [Float]
    public var bias: [Float]

    public init(kernel: Size3, weights: [Float], bias: [Float]) {
        self.kernel = kernel
        self.weights = weights
        self.bias = bias
    }
}

/// A depthwise convolution along the token sequence (voxels in memory order, width fastest), zeros before its start:
/// `y[t] = bias + Σ_k w[k] · x[t - (taps - 1) + k]`; `reversed` runs from the last token to the first instead:
/// `y[t] = bias + Σ_k w[k] · x[t + (taps - 1) - k]`.
public struct TokenConv: Equatable, Sendable {
    public var taps: Int
    public var reversed: Bool
    /// `[channel][tap]`
    public var weights: [Float]
    public var bias: [Float]

    public init(taps: Int, reversed: Bool, weights: [Float], bias: [Float]) {
        self.taps = taps
        self.reversed = reversed
        self.weights = weights
        self.bias = bias
    }
}

/// The inputs of a Kolmogorov-Arnold layer: per channel `grid + 3` cubic B-splines on uniform knots over [-1, 1], extended
/// by three cells on each side (efficient-kan), then SiLU shifted up by its minimum, so that nothing is negative. The layer itself is a pointwise convolution of these.
public struct KANBasis: Equatable, Sendable {
    /// Cells in [-1, 1].
    public var grid: Int

    public init(grid: Int) { self.grid = grid }

    /// Minus the smallest value of SiLU.
    public static let siluOffset = 0.27846454276107374
    public var outputsPerChannel: Int { grid + 4 }
    /// Output `k` of an input that is already clamped.
    public func output(_ k: Int, _ x: Double) -> Double {
        k < grid + 3 ? spline(k, x) : Activation.silu(x) + Self.siluOffset
    }
    /// Width of a cell.
    public var cell: Double { 2 / Double(grid) }
    /// Inputs are clamped to the integer range, 16 codes per cell: -128 ... 127 steps.
    public func clamp(_ x: Double) -> Double { min(max(x, -128 * cell / 16), 127 * cell / 16) }

    /// Spline `k` in 0 ..< grid + 3 at `x`; its support starts at knot `k` (x = -1 + (k - 3) · cell).
    public func spline(_ k: Int, _ x: Double) -> Double {
        let u = (x + 1) / cell - Double(k - 3)
        switch u {
        case 0..<1: return u * u * u / 6
        case 1..<2:
            let t = u - 1
            return (1 + 3 * t + 3 * t * t - 3 * t * t * t) / 6
        case 2..<3:
            let t = u - 2
            return (4 - 6 * t * t + 3 * t * t * t) / 6
        case 3..<4:
            let t = 4 - u
            return t * t * t / 6
        default: return 0
        }
    }
}

/// The inter-slice order of SegMamba: voxel after voxel through all slices, so that depth is fastest. Voxel n of the result, in
/// memory order, is voxel n of that sequence:
///
///     y[(h·width + w)·depth + d] = x[(d·height + h)·width + w]
public struct SliceOrder: Equatable, Sendable {
    /// From that sequence back to memory order.
    public var isInverse: Bool

    public init(isInverse: Bool) { self.isInverse = isInverse }
}

extension FloatOp {
    var parameterCount: Int {
        switch self {
        case .conv3d(let conv): conv.weights.count + conv.bias.count
        case .groupNorm(let norm): norm.scale.count + norm.shift.count
        case .layerNorm(let norm): norm.scale.count + norm.shift.count
        case .depthwise(let conv): conv.weights.count + conv.bias.count
        case .tokenConv(let conv): conv.weights.count + conv.bias.count
        case .scan(let scan): scan.a.count + scan.skip.count
        default: 0
        }
    }
}

/// The selective scan (Gu & Dao 2023, arXiv 2312.00752) over the token sequence. Inputs: x `[channels]`, v `[channels]`
/// (the step before softplus, bias included), and B and C as one value of `2 · states` channels.
///
///     Δ = softplus(v[t,d])
///     h[d,n] ← exp(Δ · a[d,n]) · h[d,n] + Δ · B[t,n] · x[t,d]
///     y[t,d] = Σ_n C[t,n] · h[d,n] + skip[d] · x[t,d]
public struct SelectiveScan: Equatable, Sendable {
    public var states: Int
    public var reversed: Bool
    /// `[channel][state]`, negative.
    public var a: [Float]
    /// One per channel.
    public var skip: [Float]

    public init(states: Int, reversed: Bool, a: [Float], skip: [Float]) {
        self.states = states
        self.reversed = reversed
        self.a = a
        self.skip = skip
    }
}

/// The largest values inside one channel of a scan.
public struct ScanPeaks: Equatable, Sendable {
    /// |h| of any state.
    public var state = 0.0
    /// |Δ·x|
    public var injection = 0.0
    /// The step before softplus.
    public var step = -Double.infinity

    public init() {}

    public func merged(_ other: ScanPeaks) -> ScanPeaks {
        var result = self
        result.state = max(state, other.state)
        result.injection = max(injection, other.injection)
        result.step = max(step, other.step)
        return result
    }
}
