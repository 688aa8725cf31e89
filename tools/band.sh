#!/bin/sh
# The embedded model's band, measured by the product itself: tools/band.sh DATA_SEED LIMIT, run files in out/band.
set -e
seed=${1:-0}; limit=${2:-500}
mkdir -p out/band
for level in 3 4 5; do
  thence compare "wordproblems(level=$level, data_seed=$seed)" "greedy @ direct" "greedy @ cot" \
    "repeated-sampling(n=16) @ cot" "self-consistency(n=16) @ cot" --limit "$limit" \
    --run "out/band/$level-$seed.db" --baseline "greedy @ direct" --quiet
done
thence compare "wordproblems(data_seed=$seed)" "greedy @ cot" "repeated-sampling(n=16) @ cot" \
  "self-consistency(n=16) @ cot" --limit "$limit" --run "out/band/3-$seed.db" --baseline "repeated-sampling(n=16) @ cot" --quiet
thence eval "wordproblems(data_seed=$seed)" -s "self-consistency(n=16)" --limit "$limit" --run "out/band/vote-$seed.db" \
  --reuse "out/band/3-$seed.db" --quiet
python tools/guess_control.py "out/band/vote-$seed.db"
