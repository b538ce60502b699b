#!/usr/bin/env bash
# Check a command, then give it to SLURM by one of the templates. Paths are relative to the repository.
#
#   slurm/submit.sh [--dry-run] [--SBATCH-OPTION=VALUE…] TEMPLATE COMMAND OVERRIDE…
#   slurm/submit.sh [--dry-run] [--SBATCH-OPTION=VALUE…] TEMPLATE GRID COMMAND [OVERRIDE…]
#
# COMMAND is train, generate, evaluate, …; GRID a file with the overrides of one run in each line, for array.sbatch and
# pack.sbatch. --dry-run prints what would be submitted, and submits nothing. Options of sbatch win over the template's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly PYTHON=.venv/bin/python LOGS=runs/slurm

fail() {
  echo "Error: $1" >&2
  exit 1
}

# The grid as it is now, less comments and empty lines, under a name made of its content: a job that waits or comes back
# must find the lines it was submitted with.
kept_grid() {
  local text path
  text=$(sed -E 's/^[[:space:]]+//; s/[[:space:]]+$//; /^(#|$)/d' "$1")
  [ -n "$text" ] || fail "$1: no line with overrides"
  path=$LOGS/$(sha256sum <<<"$text" | cut -c 1-12).grid
  echo "$text" >"$path.$$"
  mv "$path.$$" "$path"
  echo "$path"
}

dry_run=false options=()
while [[ ${1:-} == -* ]]; do
  if [ "$1" = --dry-run ]; then dry_run=true; else options+=("$1"); fi
  shift
done
[ $# -ge 2 ] || fail 'usage: slurm/submit.sh [--dry-run] [--SBATCH-OPTION=VALUE…] TEMPLATE [GRID] COMMAND OVERRIDE…'
template=$1
shift
[ -f "$template" ] || fail "$template: no such template; slurm/*.sbatch are there"
[ -x "$PYTHON" ] || fail "$PYTHON is missing: run make setup first"
"$dry_run" || command -v sbatch >/dev/null || fail 'sbatch is missing: this is no machine of a SLURM cluster'
mkdir -p "$LOGS" 2>/dev/null && [ -w "$LOGS" ] || fail "$LOGS cannot be written to; logs go there"

grid=()
if grep -q lines.sh "$template"; then
  [ -f "$1" ] || fail "$1: no such file; $template takes a grid, a file with the overrides of one run in each line"
  [ $# -ge 2 ] || fail "a command such as train expected behind $1"
  grid=("$(kept_grid "$1")")
  shift
  last=$(($(wc -l <"${grid[0]}") - 1))
  ! grep -q '^#SBATCH --array' "$template" || options=("--array=0-$last" ${options[@]+"${options[@]}"})
fi
checked=("$@")
! grep -q trainer=ddp "$template" || checked+=(trainer=ddp trainer.devices=1)
"$PYTHON" -m slurm.check ${grid[@]+"--grid=${grid[0]}"} "${checked[@]}"

submission=(sbatch --chdir="$PWD" ${options[@]+"${options[@]}"} "$template" ${grid[@]+"${grid[@]}"} "$@")
if "$dry_run"; then
  printf '%q ' "${submission[@]}"
  printf '\n\n'
  cat "$template"
else
  "${submission[@]}"
  echo "logs: $LOGS"
fi
