# SPDX-License-Identifier: MIT
#
# For those who type make: every target is ./run's.
.PHONY: help demo test bench build torture
help demo test bench build torture:
	@./run $@
