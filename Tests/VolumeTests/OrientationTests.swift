import CNIfTI
import Foundation
import Testing
import Volume

@Suite struct OrientationTests {
    /// All 48 axis codes.
    static let codes: [String] = {
        let pairs = [["R", "L"], ["A", "P"], ["S", "I"]]
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
        return orders.flatMap { order in
            (0..<8).map { bits in (0..<3).map { pairs[order[$0]][bits >> $0 & 1] }.joined() }
        }
    }()

    /// The affine whose stored axes run in the directions of `code`, with the given voxel sizes.
    static func rows(_ code: String, _ size: [Double]) -> [Double] {
        var rows = [Double](repeating: 0, count: 12)
        for (axis, letter) in code.enumerated() {
            let world = "RL".contains(letter) ? 0 : "AP".contains(letter) ? 1 : 2
            rows[world * 4 + axis] = "LPI".contains(letter) ? -size[axis] : size[axis]
        }
        return rows
    }

    @Test func all48RoundTrip() throws {
        #expect(Set(Self.codes).count == 48)
        let size = GridSize(4, 3, 2)
        let voxels = (0..<24).map { UInt8($0) }
        for stored in Self.codes {
            for model in ["RAS", "LIA", "PSR"] {
                let map = try #require(AxisMap(stored: stored, model: model))
                #expect(map.inverse(map.forward(voxels, size: size), size: size) == voxels)
            }
        }
    }

    @Test func forwardPutsEveryVoxelWhereItLies() throws {
        // The world position of each voxel, computed through the affine, must be that of the model-order grid.
        let folder = TemporaryFolder()
        for code in Self.codes {
            var file = NIfTIBytes()
            file.srow = Self.rows(code, [1, 1.5, 2])
            let volume = try VoxelVolume.read(path: folder.write("a.nii", file.file()))
            #expect(volume.header.axisCodes == code)
            let map = try #require(AxisMap(stored: code, model: "RAS"))
            let size = map.modelSize(of: volume.dims)
            let order = map.forward(Array(0..<60), size: volume.dims)
            var last = SIMD3<Double>(repeating: -.infinity)
            for z in 0..<size.z {
                for y in 0..<size.y {
                    for x in 0..<size.x {
                        let stored = order[(z * size.y + y) * size.x + x]
                        let position = volume.header.affine.position(
                            Double(stored % 5), Double(stored / 5 % 4), Double(stored / 20))
                        // x fastest: right grows along a row, anterior from row to row, superior from plane to plane.
                        if x > 0 {
                            #expect(position.x > last.x && position.y == last.y && position.z == last.z)
                        }
                        if x == 0, y > 0 { #expect(position.y > last.y && position.z == last.z) }
                        if x == 0, y == 0, z > 0 { #expect(position.z > last.z) }
                        last = position
                    }
                }
            }
        }
    }

    @Test func obliqueAxesGoToTheNearest() {
        // A rotation by 40 degrees about z, then with a shear that a look at single columns would misread.
        let (c, s) = (0.766, 0.643)
        #expect(Affine(rows: [c, -s, 0, 0, s, c, 0, 0, 0, 0, 1, 0]).axisCodes == "RAS")
        #expect(Affine(rows: [-c, s, 0, 0, 0, 0, 3, 0, s, c, 0, 0]).axisCodes == "LSA")
        #expect(Affine(rows: [1, 1.1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]).axisCodes == "RAS")
        #expect(Affine(rows: [0, 0, -9, 0, 0.2, 0, 0, 0, 0, -4, 0, 0]).axisCodes == "AIL")
    }

    @Test func axisCodesAgreeWithTheLibrary() {
        // Random rotations, reflections and voxel sizes.
        var random = TestRandom(state: 11)
        for _ in 0..<500 {
            var q = (0..<4).map { _ in Double.random(in: -1...1, using: &random) }
            let length = q.map { $0 * $0 }.reduce(0, +).squareRoot()
            guard length > 0.1 else { continue }
            q = q.map { $0 / length }
            if q[0] < 0 { q = q.map { -$0 } }
            let size = (0..<3).map { _ in Double.random(in: 0.3...5, using: &random) }
            let matrix = nifti_quatern_to_dmat44(
                q[1], q[2], q[3], 1, 2, 3, size[0], size[1], size[2], Bool.random(using: &random) ? 1 : -1)
            var codes: (Int32, Int32, Int32) = (0, 0, 0)
            unsafe nifti_dmat44_to_orientation(matrix, &codes.0, &codes.1, &codes.2)
            let letters = ["", "R", "L", "A", "P", "S", "I"]
            // The library names the direction an axis runs to: 1 is "left to right".
            let expected = [codes.0, codes.1, codes.2].map { letters[Int($0)] }.joined()
            #expect(Affine(rows: Oracle.rows(matrix)).axisCodes == expected)
        }
    }

    @Test func badCodesAreRefused() {
        for code in ["", "RA", "RASS", "RRS", "RLA", "XYZ", "RA1"] {
            #expect(AxisMap(stored: code, model: "RAS") == nil)
        }
        #expect(AxisMap(stored: "ras", model: "RAS")?.isIdentity == true)
    }
}
