# Each target is one line of work; .ci/run and the README use the same names.
SWIFT ?= swift
BIN = .build/release

.PHONY: build test firmware budget lint format bench demo deps clean

deps:            ## system libraries and the demo's images (Debian)
	Tools/install-deps.sh

build: deps      ## optimised programs: .build/release/mkquant, .build/release/mkrun
	$(SWIFT) build -c release --product mkquant
	$(SWIFT) build -c release --product mkrun

test: firmware   ## everything that must be true, optimised (kernels are slow in debug builds)
	$(SWIFT) test -c release -Xswiftc -enable-testing

firmware:        ## ARM and bare-metal boards under emulators: bits, memory, faults, sizes (docs/boards.md)
	Tools/install-deps.sh firmware
	$(MAKE) -C Firmware-Sim -j2 programs
	$(MAKE) -C Firmware-Sim

budget: deps     ## the memory that is promised, model by model, and what runs under those limits need
	MKEDGE_BUDGET=print $(SWIFT) test -c release -Xswiftc -enable-testing --filter BudgetTests

demo: build      ## converts the brain-mask network, segments a real head, scores and draws it
	Tools/demo.sh $(BIN) out

bench: deps      ## speed against the instruction limit and peers; WHAT=long adds whole networks and fidelity (Tools/bench/README.md)
	Tools/bench/run.sh $(WHAT)

lint:            ## style
	$(SWIFT) format lint --recursive --parallel Sources Tests Package.swift

format:
	$(SWIFT) format --in-place --recursive --parallel Sources Tests Package.swift

clean:
	rm -rf .build out
