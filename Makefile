# Each target is one line of work; .ci/run and the README use the same names.
SWIFT ?= swift
BIN = .build/release

.PHONY: build test firmware budget lint format bench demo deps man clean

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

man: build       ## manual pages and shell completions, from the programs' own help, in out/share
	for program in mkquant mkrun; do \
	    Tools/man/man.py $(BIN)/$$program out/share/man/man1; \
	    mkdir -p out/share/bash-completion/completions out/share/zsh/site-functions out/share/fish/vendor_completions.d; \
	    $(BIN)/$$program --generate-completion-script bash > out/share/bash-completion/completions/$$program; \
	    $(BIN)/$$program --generate-completion-script zsh > out/share/zsh/site-functions/_$$program; \
	    $(BIN)/$$program --generate-completion-script fish > out/share/fish/vendor_completions.d/$$program.fish; \
	done

lint:            ## style
	$(SWIFT) format lint --recursive --parallel Sources Tests Package.swift

format:
	$(SWIFT) format --in-place --recursive --parallel Sources Tests Package.swift

clean:
	rm -rf .build out
