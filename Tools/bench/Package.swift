// swift-tools-version: 6.2
import PackageDescription

// Apart from the main package, which has no benchmark code in it.
let package = Package(
    name: "bench",
    dependencies: [.package(name: "MKEdge", path: "../..")],
    targets: [
        .target(name: "CPeers"),
        .executableTarget(
            name: "tokenbench", dependencies: ["CPeers", .product(name: "Ops", package: "MKEdge")]),
        .executableTarget(name: "convbench", dependencies: [.product(name: "Ops", package: "MKEdge")]),
    ],
    cLanguageStandard: .gnu11
)
