import GraphIR
import Testing

/// A two-layer configuration whose parts a test replaces.
func configJSON(
    layers: String? = nil, top: String = "", extras: String = ""
) -> [UInt8] {
    let chain = layers ?? layerJSON() + "," + layerJSON(kernel: "1", padding: "0")
    let mkedge = extras.isEmpty ? "" : ",\"mkedge\":{\(extras)}"
    return Array("{\"layers\":[\(chain)]\(top.isEmpty ? "" : "," + top)\(mkedge)}".utf8)
}

func layerJSON(kernel: String = "3", padding: String = "1", stride: String = "1", dilation: String = "1")
    -> String
{
    "{\"in_channels\":-1,\"out_channels\":5,\"kernel_size\":\(kernel),\"padding\":\(padding),\"stride\":\(stride),\"dilation\":\(dilation)}"
}

struct BadConfig: Sendable, CustomTestStringConvertible {
    let message: String
    let json: [UInt8]

    init(_ message: String, _ json: [UInt8]) { (self.message, self.json) = (message, json) }

    var testDescription: String { message }

    static let layers = [
        BadConfig("layers is missing", Array("{}".utf8)),
        BadConfig("layers=0 layers (must be 1...1000)", configJSON(layers: "")),
        BadConfig("layers=3 (must be a list of objects)", Array("{\"layers\":3}".utf8)),
        BadConfig("layers[1]=7 (must be an object)", configJSON(layers: layerJSON() + ",7")),
        BadConfig("layers[0].kernel_size=2 (must be odd", configJSON(layers: layerJSON(kernel: "2"))),
        BadConfig(
            "layers[0].kernel_size=\"3\" (must be an integer)", configJSON(layers: layerJSON(kernel: "\"3\""))
        ),
        BadConfig(
            "layers[0].kernel_size=[3, 3, 3] (must be an integer)",
            configJSON(layers: layerJSON(kernel: "[3,3,3]"))),
        BadConfig("layers[0].kernel_size is missing", configJSON(layers: "{}")),
        BadConfig(
            "layers[1].stride=2 (must be 1)", configJSON(layers: layerJSON() + "," + layerJSON(stride: "2"))),
        BadConfig("layers[0].dilation=0 (must be 1...64)", configJSON(layers: layerJSON(dilation: "0"))),
        BadConfig(
            "layers[0].dilation=1.5 (must be an integer)", configJSON(layers: layerJSON(dilation: "1.5"))),
        BadConfig(
            "layers[0].padding=5 (must be 0...4 for kernel_size 3 and dilation 4)",
            configJSON(layers: layerJSON(padding: "5", dilation: "4"))),
        BadConfig(
            "layers[0].padding=9223372036854775807",
            configJSON(layers: layerJSON(padding: "9223372036854775807"))),
    ]

    static let members = [
        BadConfig("not valid JSON", Array("{".utf8)),
        BadConfig("not valid JSON", []),
        BadConfig("not a JSON object (is [])", Array("[]".utf8)),
        BadConfig("occurs twice", configJSON(top: "\"gelu\":true,\"gelu\":false")),
        BadConfig("bnorm=1 (must be true or false)", configJSON(top: "\"bnorm\":1")),
        BadConfig("gelu=true together with elu", configJSON(top: "\"gelu\":true,\"elu\":true")),
        BadConfig("mkedge=[] (must be an object)", configJSON(top: "\"mkedge\":[]")),
        BadConfig("mkedge.name= (must be 1...255 bytes)", configJSON(extras: "\"name\":\"\"")),
        BadConfig("mkedge.axes=yxz (must be xyz or zyx)", configJSON(extras: "\"axes\":\"yxz\"")),
        BadConfig("mkedge.orientation=RAR", configJSON(extras: "\"orientation\":\"RAR\"")),
        BadConfig("mkedge.spacing_mm=[1.0, 1.0]", configJSON(extras: "\"spacing_mm\":[1,1]")),
        BadConfig(
            "mkedge.spacing_mm=[1, \"1\", 1] (must be a list of numbers)",
            configJSON(extras: "\"spacing_mm\":[1,\"1\",1]")),
        BadConfig("mkedge.dims=[0, 0, -1]", configJSON(extras: "\"dims\":[0,0,-1]")),
        BadConfig("mkedge.channels=0 names", configJSON(extras: "\"channels\":[]")),
        BadConfig("mkedge.normalization.kind is missing", configJSON(extras: "\"normalization\":{}")),
        BadConfig(
            "mkedge.normalization.kind=best", configJSON(extras: "\"normalization\":{\"kind\":\"best\"}")),
        BadConfig(
            "mkedge.normalization=low 0.9, high 0.1",
            configJSON(extras: "\"normalization\":{\"kind\":\"quantile\",\"low\":0.9,\"high\":0.1}")),
        BadConfig(
            "mkedge.normalization.epsilon=-1.0",
            configJSON(extras: "\"normalization\":{\"kind\":\"minmax\",\"epsilon\":-1}")),
        BadConfig("mkedge.labels[0].value is missing", configJSON(extras: "\"labels\":[{\"name\":\"a\"}]")),
        BadConfig(
            "mkedge.labels[0].value=70000",
            configJSON(extras: "\"labels\":[{\"value\":70000,\"name\":\"a\",\"rgb\":[0,0,0]}]")),
        BadConfig(
            "mkedge.labels[0].rgb=[0, 0, 256]",
            configJSON(extras: "\"labels\":[{\"value\":0,\"name\":\"a\",\"rgb\":[0,0,256]}]")),
        BadConfig(
            "mkedge.labels[1].value=4 (must be of one label only)",
            configJSON(extras: "\"labels\":[{\"value\":4,\"name\":\"a\"},{\"value\":4,\"name\":\"b\"}]")),
        BadConfig("mkedge.window.patch is missing", configJSON(extras: "\"window\":{}")),
        BadConfig(
            "mkedge.window.overlap=1.0", configJSON(extras: "\"window\":{\"patch\":[64,64,64],\"overlap\":1}")
        ),
        BadConfig(
            "mkedge.window.scheme=other",
            configJSON(extras: "\"window\":{\"patch\":[64,64,64],\"scheme\":\"other\"}")),
    ]
}

struct ModelConfigTests {
    @Test(arguments: BadConfig.layers + BadConfig.members)
    func isRefused(_ bad: BadConfig) {
        let error = #expect(throws: ImportError.self) {
            try ModelConfig(json: bad.json, path: "model.json", fallbackName: "m")
        }
        #expect(error?.kind == .malformed && error?.file == "model.json")
        #expect(error?.message.contains(bad.message) == true, "\(error?.message ?? "")")
    }

    @Test func defaultsAreThoseOfThePublishedNetworks() throws {
        let config = try ModelConfig(
            json: configJSON(top: "\"header\":\"any\",\"dropout_p\":0.1,\"unknown\":[{}]"),
            path: "model.json", fallbackName: "m")
        #expect(config.layers.map(\.kernel_size) == [3, 1])
        #expect(!config.bnorm && !config.gelu && !config.elu)
        #expect(config.name == "m" && config.axes == "xyz" && config.orientation == "LIA")
        #expect(config.spacing == [1, 1, 1] && config.dims == [0, 0, 0])
        #expect(config.normalization == .init(kind: "quantile", low: 0.02, high: 0.98, epsilon: 0.001))
        #expect(config.labels == nil && config.window == nil && config.channelNames == nil)
    }

    @Test func everyKeyIsRead() throws {
        let extras = """
            "name":"heads","axes":"zyx","orientation":"RAS","spacing_mm":[0,2,0.5],"dims":[256,0,1],
            "normalization":{"kind":"zscore","epsilon":0.5,"clip":4},"channels":["t1","t2"],
            "labels":[{"value":0,"name":"background","rgb":[0,0,0]},{"value":9,"name":"brain","rgb":[1,2,255]}],
            "window":{"patch":[128,96,64],"overlap":0.25,"scheme":"nnunet","weight":"constant"}
            """
        let config = try ModelConfig(
            json: configJSON(top: "\"elu\":true,\"bnorm\":true,\"gelu\":null", extras: extras),
            path: "model.json", fallbackName: "m")
        #expect(config.elu && config.bnorm && !config.gelu)
        #expect(config.name == "heads" && config.axes == "zyx" && config.orientation == "RAS")
        #expect(config.spacing == [0, 2, 0.5] && config.dims == [256, 0, 1])
        #expect(config.normalization == .init(kind: "zscore", epsilon: 0.5, clip: 4))
        #expect(config.channelNames == ["t1", "t2"])
        #expect(config.labels?.map(\.value) == [0, 9] && config.labels?[1].rgb == [1, 2, 255])
        #expect(config.window?.patch == [128, 96, 64] && config.window?.overlap == 0.25)
        #expect(config.window?.scheme == "nnunet" && config.window?.weight == "constant")
    }

    @Test func missingFile() {
        let error = #expect(throws: ImportError.self) {
            try ModelConfig(path: "/nonexistent/model.json", fallbackName: "m")
        }
        #expect(error?.kind == .unreadable)
    }
}
