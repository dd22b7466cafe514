/// Of the programs; goes into every file they write.
public enum Version {
    public static let number = "0.1.0"
    public static let text = "MKEdge \(number)"
}
