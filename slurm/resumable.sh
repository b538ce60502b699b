# What the templates share; sourced in the repository by the script of a job.
#
# The one way back into the queue: SLURM sends USR1 to this script before the time limit (#SBATCH --signal), and the
# script asks for a requeue, which ends the command. After a preemption or a lost node SLURM requeues by itself (#SBATCH
# --requeue). Either way the job starts again from its first line, and the command goes on in its run folder.

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
export PYTHONWARNINGS='ignore:The `srun` command is available'  # Lightning's advice; each program here is alone
readonly MOST_RESTARTS=50

requeue() {
  local restarts=${SLURM_RESTART_COUNT:-0}
  if [ "$restarts" -lt "$MOST_RESTARTS" ]; then
    echo "time limit is near: job $SLURM_JOB_ID goes back into the queue (restart $((restarts + 1)))" >&2
    scontrol requeue "$SLURM_JOB_ID"
  else
    echo "time limit is near, after $restarts restarts: job $SLURM_JOB_ID ends here" >&2
  fi
}

# resumable COMMAND ARGUMENT...: run it and end with its status. In the background: bash sees no signal while it waits for
# a command in front.
resumable() {
  local command status interrupted=$((128 + $(kill -l USR1)))
  trap requeue USR1
  "$@" &
  command=$!
  while wait "$command"; status=$?; [ "$status" -eq "$interrupted" ]; do :; done
  exit "$status"
}
