#!/usr/bin/env bash
# Install the wheel in dist/ into new environments and run it in empty folders: first by itself, then with [all].
# Usage: tests/wheel.sh TORCH PYTHON...; each version of Python once, and only if it is there.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
wheel="$(echo "$root"/dist/*.whl)"
torch="$1"
unset PYTHONPATH

install() {
  python -m pip install --quiet --constraint "$root/constraints.txt" "$@"
}

core() {
  help="$(lmsteer --help)"
  [[ "$help" == *'  train  '*'Fit a steer'* ]]
  python "$root/tests/core_only.py"
  refusal="$(lmsteer train 2>&1)" && exit 1
  [[ "$refusal" == "Error: lmsteer train needs hydra-core; pip install 'lmsteer[train]'" ]]
}

everything() {
  lmsteer train model=tiny steer.rank=4 trainer.max_steps=4 protocol=none logger=none hydra.run.dir=fit
  python -c 'from lmsteer.behaviours import verify; assert verify("language-es", "El perro duerme en la casa de mis padres.")'
  lmsteer generate model=tiny steer_file=fit/steer.safetensors strength=3 hydra.run.dir=texts
  python -c 'import lmsteer; assert ".wheel" in lmsteer.__file__, lmsteer.__file__'
}

for python in "${@:2}"; do
  version="$("$python" -c 'import ensurepip, sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null)" || continue
  environment="$root/.wheel/$version"
  [[ ! -e "$environment" ]] || continue
  "$python" -m venv "$environment"
  (
    export PATH="$environment/bin:$PATH"
    install "$torch"
    install "$wheel"
    cd "$(mktemp -d)"
    core
    install "$wheel[all]"
    everything
  )
  echo "the wheel works with Python $version"
done
[[ -d "$root/.wheel" ]] || { echo "none of ${*:2} is there" >&2; exit 1; }
