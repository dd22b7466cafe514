// swift-tools-version: 6.2
import PackageDescription

// Targets in the order in which the data passes through them (docs/layout.md).
// A target may import only what its dependency list names; the arrows go one way.
let package = Package(
    name: "MKEdge",
    products: [
        .executable(name: "mkquant", targets: ["mkquant"]),
        .executable(name: "mkrun", targets: ["mkrun"]),
        .library(name: "MKRuntime", targets: ["MKRuntime"]),
        .library(name: "Ops", targets: ["Ops", "COps"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    ],
    targets: [
        // Converter half.
        .target(name: "ONNXSchema", dependencies: [.product(name: "SwiftProtobuf", package: "swift-protobuf")]),
        .target(name: "GraphIR", dependencies: ["ONNXSchema"]),
        .target(
            name: "Quantize",
            dependencies: ["GraphIR", "Ops", "COps", "FixedPoint", "FlatGraph", "MKRuntime", "HostRuntime"]),
        // Meeting places: the arithmetic and the bytes.
        .target(name: "FixedPoint"),
        .target(name: "COps"),
        .target(name: "Ops", dependencies: ["COps", "FixedPoint"]),
        .target(name: "FlatGraph", dependencies: ["FixedPoint", "Ops", "COps"]),
        // Runtime half.
        .target(name: "MKRuntime", dependencies: ["Ops", "FlatGraph"]),
        .target(name: "CHost"),
        .target(name: "HostRuntime", dependencies: ["CHost", "COps", "Ops", "MKRuntime", "FlatGraph", "FixedPoint"]),
        .target(
            name: "CNIfTI",
            linkerSettings: [.linkedLibrary("nifti2"), .linkedLibrary("znz"), .linkedLibrary("z")]),
        .target(name: "Volume", dependencies: ["CNIfTI", "MKRuntime", "HostRuntime", "FlatGraph", "Ops"]),
        // Programs: argument parsing and printing only.
        .target(
            name: "CommandSupport",
            dependencies: [
                "Volume", "HostRuntime", "FlatGraph", "MKRuntime",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
        .executableTarget(
            name: "mkquant",
            dependencies: ["CommandSupport", "Quantize", "GraphIR", "Volume", "HostRuntime", "FlatGraph", "FixedPoint"]),
        .executableTarget(
            name: "mkrun",
            dependencies: ["CommandSupport", "Volume", "HostRuntime", "FlatGraph", "MKRuntime", "Ops"]),
        .target(
            name: "TestSupport", dependencies: ["FlatGraph", "Ops", "COps"], path: "Tests/TestSupport"),
        // Replaces malloc and the like in the test program.
        .target(name: "AllocationFence", path: "Tests/AllocationFence"),
        .testTarget(name: "OpsTests", dependencies: ["Ops", "FixedPoint", "COps", "TestSupport"]),
        .testTarget(name: "FlatGraphTests", dependencies: ["FlatGraph", "FixedPoint", "TestSupport"]),
        .testTarget(
            name: "MKRuntimeTests", dependencies: ["HostRuntime", "MKRuntime", "TestSupport", "COps", "FixedPoint"]),
        .testTarget(name: "VolumeTests", dependencies: ["Volume", "CNIfTI"]),
        .testTarget(name: "GraphIRTests", dependencies: ["GraphIR", "ONNXSchema"]),
        .testTarget(
            name: "QuantizeTests",
            dependencies: [
                "Quantize", "GraphIR", "FlatGraph", "FixedPoint", "HostRuntime", "MKRuntime", "Ops", "Volume",
                "TestSupport", "AllocationFence",
            ]),
        // Runs the built programs as a user would.
        .testTarget(name: "CommandTests", dependencies: ["mkquant", "mkrun", "Volume", "FlatGraph", "TestSupport"]),
    ],
    cLanguageStandard: .gnu11
)

for target in package.targets
where target.type != .test
    && !["ONNXSchema", "COps", "CHost", "CNIfTI", "TestSupport", "AllocationFence"].contains(target.name)
{
    var settings = target.swiftSettings ?? []
    settings.append(.strictMemorySafety())
    target.swiftSettings = settings
}
