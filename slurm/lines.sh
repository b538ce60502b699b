#!/usr/bin/env bash
# lines.sh GRID COMMAND [OVERRIDE…]: run the command with this task's lines of a grid. A task of an array has the line of
# its number; the tasks of srun share the lines in turn, and one that fails does not keep the next from running.
set -uo pipefail

grid=$1 command=$2
shift 2
mapfile -t lines <"$grid"
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
  first=$SLURM_ARRAY_TASK_ID step=${#lines[@]}
else
  first=$SLURM_PROCID step=$SLURM_NTASKS
fi
# Else the tasks are taken for ranks of one fit.
unset SLURM_NTASKS SLURM_NTASKS_PER_NODE SLURM_PROCID SLURM_LOCALID SLURM_STEP_NUM_TASKS

failed=0
for ((number = first; number < ${#lines[@]}; number += step)); do
  read -r -a overrides <<<"${lines[number]}"
  .venv/bin/python -m "src.$command" "$@" "${overrides[@]}" </dev/null ||
    { echo "line $((number + 1)) failed with status $?: ${lines[number]}" >&2; failed=1; }
done
exit "$failed"
