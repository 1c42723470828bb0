#!/usr/bin/env bash
# The committed rows of era5-sample, from nothing, with the public commands only.
# BIN: the folder of the `elsewhere` command; OUT: runs and data; RESULTS: where the rows go;
# SEEDS: only these.
set -euo pipefail
cd "$(dirname "$0")/.."
elsewhere="${BIN:-.venv/bin}/elsewhere"
out="${OUT:-out/official}"
task=era5-sample
rows="${RESULTS:-leaderboard/results}/2026.1/$task@1"
export ELSEWHERE_DATA="$out/data"

"$elsewhere" build "$task"

for null in nearest bilinear bicubic bilinear-dressed zero-rain; do
  "$elsewhere" predict "$task" "$null" --score-only --out "$rows/$null/none-zero_shot/seed-0"
done
"$elsewhere" predict "$task" bilinear-projected --score-only \
  --out "$rows/bilinear-projected/post_hoc-zero_shot/seed-0"

for seed in ${SEEDS:-0 1 2}; do
  for regime in zero_shot oracle; do
    for constraint in none add softmax; do
      for skip in "" -skip; do
        run="$out/runs/srcnn$skip-$constraint-$regime-$seed"
        row="$rows/srcnn$skip/$constraint-$regime/seed-$seed"
        "$elsewhere" train "$task" srcnn --constraint "$constraint" --regime "$regime" \
          --seed "$seed" ${skip:+--skip} --out "$run"
        "$elsewhere" predict "$task" "$run" --score-only --out "$row"
        if [ "$constraint" = none ]; then
          "$elsewhere" predict "$task" "$run" --post-hoc --score-only \
            --out "$rows/srcnn$skip/post_hoc-$regime/seed-$seed"
        fi
      done
    done
  done
done

# Other backbones, with a skip: the same contrast of constraints.
for model in edsr reslim unet; do
  for seed in ${SEEDS:-0 1 2}; do
    for constraint in none add softmax; do
      run="$out/runs/$model-skip-$constraint-zero_shot-$seed"
      "$elsewhere" train "$task" "$model" --constraint "$constraint" --skip --seed "$seed" \
        --out "$run"
      "$elsewhere" predict "$task" "$run" --score-only \
        --out "$rows/$model-skip/$constraint-zero_shot/seed-$seed"
      if [ "$constraint" = none ]; then
        "$elsewhere" predict "$task" "$run" --post-hoc --score-only \
          --out "$rows/$model-skip/post_hoc-zero_shot/seed-$seed"
      fi
    done
  done
done

# Other source sets, for the transfer matrix: three regions each.
europe=europe-central,europe-east,europe-west
america=northamerica-central,northamerica-east,northamerica-west
asia=caucasus-kazakhstan,china-mongolia-east,japan-okhotsk
for seed in ${SEEDS:-0 1 2}; do
  for constraint in none softmax; do
    for sources in $europe $america $asia; do
      from="$constraint-zero_shot-from-${sources//,/+}"
      "$elsewhere" train "$task" srcnn --constraint "$constraint" --skip --sources "$sources" \
        --seed "$seed" --out "$out/runs/srcnn-skip-$from-$seed"
      "$elsewhere" predict "$task" "$out/runs/srcnn-skip-$from-$seed" --score-only \
        --out "$rows/srcnn-skip/$from/seed-$seed"
    done
  done
done
