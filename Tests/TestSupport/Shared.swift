import Foundation

/// Files of the project's shared data folder, which lies beside the checkout on the developers' machines and nowhere
/// else. Tests that need it are skipped with a message where it is absent.
public enum Shared {
    public static let packageRoot = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

    public static func path(_ relative: String) -> String { "\(packageRoot)/../shared/data/\(relative)" }

    public static let isPresent = FileManager.default.fileExists(atPath: path("mri/t1_crop.nii.gz"))
    public static let skipMessage = "../shared/data is absent: real models and volumes are not tested"
}
