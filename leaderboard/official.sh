#!/usr/bin/env bash
# The committed rows of era5-sample, from nothing, with the public commands only.
# BIN: the folder of the `elsewhere` command; OUT: runs and data; RESULTS: where the rows go;
# SEEDS: only these. A run or row that is there already is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
elsewhere="${BIN:-.venv/bin}/elsewhere"
out="${OUT:-out/official}"
task=era5-sample
rows="${RESULTS:-leaderboard/results}/2026.1/$task@1"
seeds="${SEEDS:-0 1 2}"
export ELSEWHERE_DATA="$out/data"

# fit RUN MODEL OPTIONS...: a run folder.
fit() {
  [ -f "$out/runs/$1/run.json" ] || "$elsewhere" train "$task" "${@:2}" --out "$out/runs/$1"
}
# row RUN ROW OPTIONS...: a row from a run or a null.
row() {
  local source="$1"
  [ -d "$out/runs/$1" ] && source="$out/runs/$1"
  [ -f "$rows/$2/scores.json" ] ||
    "$elsewhere" predict "$task" "$source" "${@:3}" --score-only --out "$rows/$2"
}

"$elsewhere" build "$task"

for null in nearest bilinear bicubic bicubic-pil conservative bilinear-shifted bilinear-dressed \
  zero-rain; do
  row "$null" "$null/none-zero_shot/seed-0"
done
row bilinear-projected bilinear-projected/post_hoc-zero_shot/seed-0

for model in linear lapse-rate quantile-mapping bcsd analogue climatology; do
  fit "$model" "$model"
  row "$model" "$model/none-zero_shot/seed-0"
done
for model in linear lapse-rate bcsd; do
  row "$model" "$model/post_hoc-zero_shot/seed-0" --post-hoc
done

for seed in $seeds; do
  for regime in zero_shot oracle; do
    for skip in "" -skip; do
      for constraint in none add softmax; do
        run="srcnn$skip-$constraint-$regime-$seed"
        fit "$run" srcnn --constraint "$constraint" --regime "$regime" --seed "$seed" \
          ${skip:+--skip}
        row "$run" "srcnn$skip/$constraint-$regime/seed-$seed"
      done
      row "srcnn$skip-none-$regime-$seed" "srcnn$skip/post_hoc-$regime/seed-$seed" --post-hoc
    done
  done
done

# Other backbones, with a skip: the same contrast of constraints.
for model in edsr reslim unet espcn resnet dfno loan; do
  for seed in $seeds; do
    for constraint in none add softmax; do
      run="$model-skip-$constraint-zero_shot-$seed"
      fit "$run" "$model" --constraint "$constraint" --skip --seed "$seed"
      row "$run" "$model-skip/$constraint-zero_shot/seed-$seed"
    done
    row "$model-skip-none-zero_shot-$seed" "$model-skip/post_hoc-zero_shot/seed-$seed" --post-hoc
  done
done

# Other regimes and selections of the SR-CNN; controls; batch statistics of the target.
for seed in $seeds; do
  fit "srcnn-skip-none-target_only-$seed" srcnn --skip --seed "$seed" --regime oracle --target-only
  row "srcnn-skip-none-target_only-$seed" "srcnn-skip/none-oracle-target-only/seed-$seed"
  fit "srcnn-skip-none-val_ood-$seed" srcnn --skip --seed "$seed" --selection val_ood
  row "srcnn-skip-none-val_ood-$seed" "srcnn-val-ood-skip/none-zero_shot/seed-$seed"
  fit "srcnn-skip-none-few_shot-$seed" srcnn --seed "$seed" --regime few_shot \
    --base "$out/runs/srcnn-skip-none-zero_shot-$seed"
  row "srcnn-skip-none-few_shot-$seed" "srcnn-skip/none-few_shot/seed-$seed"
  row "srcnn-skip-none-zero_shot-$seed" "srcnn-qm-skip/none-target_inputs/seed-$seed" \
    --adapt quantile-mapping
  fit "memoriser-skip-none-zero_shot-$seed" memoriser --skip --seed "$seed"
  row "memoriser-skip-none-zero_shot-$seed" "memoriser-skip/none-zero_shot/seed-$seed"
  row "loan-skip-none-zero_shot-$seed" "loan-shuffled-statics-skip/none-zero_shot/seed-$seed" \
    --probe shuffled-statics
  fit "srdrn-skip-none-zero_shot-$seed" srdrn --skip --seed "$seed"
  row "srdrn-skip-none-zero_shot-$seed" "srdrn-skip/none-zero_shot/seed-$seed"
  row "srdrn-skip-none-zero_shot-$seed" "srdrn-adabn-skip/none-target_inputs/seed-$seed" \
    --adapt adabn
done

# Other source sets, for the transfer matrix: three regions each.
europe=europe-central,europe-east,europe-west
america=northamerica-central,northamerica-east,northamerica-west
asia=caucasus-kazakhstan,china-mongolia-east,japan-okhotsk
for seed in $seeds; do
  for constraint in none softmax; do
    for sources in $europe $america $asia; do
      from="$constraint-zero_shot-from-${sources//,/+}"
      fit "srcnn-skip-$from-$seed" srcnn --constraint "$constraint" --skip --sources "$sources" \
        --seed "$seed"
      row "srcnn-skip-$from-$seed" "srcnn-skip/$from/seed-$seed"
    done
  done
done
