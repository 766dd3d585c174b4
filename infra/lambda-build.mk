# `sam build` runs these with the folder to fill in ARTIFACTS_DIR (template.yaml, Metadata).

# What the functions run on: Runtime and Architectures of template.yaml.
LAMBDA_PYTHON ?= 3.13
LAMBDA_MACHINE ?= x86_64

.PHONY: build-OrdersFunction build-OrdersFifoFunction
build-OrdersFunction build-OrdersFifoFunction: $(UV)
	@infra/build-lambda.sh $(UV) $(LAMBDA_PYTHON) $(LAMBDA_MACHINE) "$(ARTIFACTS_DIR)"
