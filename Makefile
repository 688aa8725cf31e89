# Two commands are all a fresh clone needs: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1

.PHONY: setup demo test test-vllm check bench heads clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "thence needs Python 3.11 or newer; set PYTHON=…"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# The main job on the embedded model: seven ways to put and solve the same 200 problems, compared in pairs.
demo: setup
	@$(BIN)/thence solve "I have 3 apples, my dad has 2 more than me. How many do we have in total?" --strategy "cot-decoding(k=5)"
	@$(BIN)/thence compare wordproblems \
		"greedy @ direct" "greedy @ cot" "self-consistency(n=16) @ cot" "greedy @ bare" "cot-decoding(k=10) @ bare" \
		"best-of-n(n=16, verifier=agreement) @ cot" "best-of-n(n=16, verifier=logprob) @ cot" \
		--limit 200 --run runs/demo.db --plot runs/demo.png

# One process a core, four at most: each may load torch.
test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 4

test-vllm: setup
	@sh tests/vllm/setup.sh $(VENV)-vllm $(PYTHON) && THENCE_VLLM_PYTHON=$(VENV)-vllm/bin/python $(BIN)/python -m pytest -m vllm tests/vllm -rs || test $$? -eq 75

check: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" ./check

bench: setup
	@$(BIN)/python benchmarks/bench.py

# The verifiers that ship with the embedded model, on problems of its training split; whoever changes its weights runs
# this. One thread each, two at a time; a stopped run goes on where it was. PROBLEMS=100 tries it
# out in a minute (and overwrites them, too).
PROBLEMS ?= 5000
HEADS = out/heads/$(PROBLEMS)
LABELS = $(HEADS)/labels.jsonl
TRAIN = $(BIN)/thence train $(1) --data $(LABELS) --out $(HEADS)/$(1) --resume $(2)
KINDS = prm orm head dpo simpo
PAIRED = wordproblems(split=train, data_seed=21, size=30000)
FIT = --epochs 3 --batch-size 64 --lr 2e-3

heads: setup
	@$(MAKE) --no-print-directory -j2 $(KINDS:%=$(HEADS)/%/verifier.json)
	@for kind in $(KINDS); do rm -rf src/thence/acorn/$$kind; cp -r $(HEADS)/$$kind src/thence/acorn/; done

$(LABELS): src/thence/acorn/model.safetensors
	rm -rf $(HEADS)/labels.* $(HEADS)/prm $(HEADS)/orm $(HEADS)/head
	mkdir -p $(HEADS)
	$(BIN)/thence label "wordproblems(split=train, data_seed=20, size=$(PROBLEMS))" --method "math-shepherd(n=2, solutions=4)" \
		--output $@.part --run $(HEADS)/labels.db
	mv $@.part $@
$(HEADS)/prm/verifier.json: $(LABELS)
	$(call TRAIN,prm,$(FIT))
$(HEADS)/orm/verifier.json: $(LABELS)
	$(call TRAIN,orm,$(FIT))
$(HEADS)/head/verifier.json: $(LABELS)
	$(call TRAIN,head,)
$(HEADS)/pairs.jsonl: src/thence/acorn/model.safetensors
	rm -rf $(HEADS)/pairs.* $(HEADS)/dpo $(HEADS)/simpo
	mkdir -p $(HEADS)
	$(BIN)/thence label "$(PAIRED)" --method "exact(solutions=4)" --limit $(PROBLEMS) --output $@.part --run $(HEADS)/pairs.db
	mv $@.part $@
$(HEADS)/dpo/verifier.json $(HEADS)/simpo/verifier.json: $(HEADS)/%/verifier.json: $(HEADS)/pairs.jsonl
	$(BIN)/thence train $*-verifier --data $< --task "$(PAIRED)" --out $(HEADS)/$* --resume --epochs 2

clean:
	rm -rf $(VENV) $(VENV)-vllm build dist .mypy_cache .ruff_cache .pytest_cache
