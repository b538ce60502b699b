#!/usr/bin/env bash
# A SLURM cluster of one node, this machine: controller, node and accounting, all on the loopback address.
#
#   tests/slurm/cluster.sh up     install Debian's packages where they are missing, start all, wait until it is idle
#   tests/slurm/cluster.sh down   stop it and remove its configuration and state
#
# For containers and machines to throw away: needs root, and refuses a machine that has a SLURM of its own.
set -euo pipefail

readonly ETC=/etc/slurm MARK='# Written by tests/slurm/cluster.sh; state in '
readonly PACKAGES=(slurm-wlm slurmdbd munge mariadb-server)
readonly COMMANDS=(slurmctld slurmd slurmdbd munged mariadbd mariadb-install-db)

fail() {
  echo "cluster.sh: $1" >&2
  exit 1
}

# The folder that a cluster of ours was started in, or nothing.
state_folder() {
  [ ! -f "$ETC/slurm.conf" ] || sed -n "1s|^$MARK||p" "$ETC/slurm.conf"
}

refuse_others() {
  [ "$(id -u)" = 0 ] || fail 'root is needed, to install and start SLURM; run it in a container'
  local conf
  for conf in "$ETC/slurm.conf" "$ETC/slurmdbd.conf" /etc/slurm-llnl/slurm.conf; do
    [ ! -e "$conf" ] || [[ $(head -n 1 "$conf") == "$MARK"* ]] ||
      fail "$conf is there and not ours: this machine has a SLURM of its own, which stays untouched"
  done
}

install_packages() {
  command -v "${COMMANDS[@]}" >/dev/null && return
  command -v apt-get >/dev/null || fail "apt-get is missing; install ${PACKAGES[*]} by hand"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${PACKAGES[@]}" >"$1/apt.log" 2>&1 ||
    { tail -n 20 "$1/apt.log" >&2; fail 'the packages could not be installed'; }
}

# wait_for WHAT COMMAND...: until the command succeeds, 20 seconds at most.
wait_for() {
  local what=$1
  shift
  for _ in $(seq 200); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  tail -n 20 "$(state_folder)"/*.log >&2
  fail "$what did not start"
}

start_munge() {
  munge -n >/dev/null 2>&1 && return
  install -d -o munge -g munge -m 755 /run/munge
  su -s /bin/sh munge -c "$(command -v munged)"
  wait_for munged munge -n
  cp /run/munge/munged.pid "$1/munged.pid"
}

start_database() {
  local mysql=(mariadb --socket="$1/mysql/socket")
  install -d -o mysql -g mysql "$1/mysql"
  mariadb-install-db --user=mysql --datadir="$1/mysql" --skip-test-db >"$1/mariadb.log" 2>&1
  setsid mariadbd --no-defaults --user=mysql --datadir="$1/mysql" --socket="$1/mysql/socket" \
    --pid-file="$1/mysql/mariadbd.pid" --bind-address=127.0.0.1 --port=13306 --innodb-buffer-pool-size=64M \
    >>"$1/mariadb.log" 2>&1 </dev/null &
  wait_for mariadbd "${mysql[@]}" -e 'select 1'
  "${mysql[@]}" -e "create user slurm@localhost identified by 'slurm'; create database slurm;
    grant all on slurm.* to slurm@localhost"
}

accounting_conf() {
  cat <<CONF
$MARK$1
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=13306
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
LogFile=$1/slurmdbd.log
PidFile=$1/slurmdbd.pid
CONF
}

# A requeued job waits cred_expire seconds before it starts again; the default of 120 would be most of the tests' time.
# Jobs of the partition "high" preempt those of "low", which are put back into the queue.
cluster_conf() {
  local host
  host=$(hostname -s)
  cat <<CONF
$MARK$1
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/spool
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd.pid
SlurmctldLogFile=$1/slurmctld.log
SlurmdLogFile=$1/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(env -u OMP_NUM_THREADS nproc) RealMemory=4000 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=$host State=UP PriorityTier=10 PreemptMode=OFF
CONF
}

start_slurm() {
  install -d "$1/state" "$1/spool" "$ETC"
  install -m 600 <(accounting_conf "$1") "$ETC/slurmdbd.conf"
  getent hosts "$(hostname -s)" >/dev/null || echo "127.0.0.1 $(hostname -s)" >>/etc/hosts
  slurmdbd
  wait_for slurmdbd sacctmgr -n list cluster
  sacctmgr -i add cluster test >/dev/null
  slurmctld
  slurmd
  wait_for slurmd sh -c '[ "$(sinfo -h -p low -o %t)" = idle ]'
}

up() {
  refuse_others
  local folder
  if [ -n "$(state_folder)" ]; then down; fi
  folder=$(mktemp -d -t lmsteer-slurm-XXXXXX)
  chmod 755 "$folder"
  install_packages "$folder"
  install -d "$ETC"
  cluster_conf "$folder" >"$ETC/slurm.conf"
  start_munge "$folder"
  start_database "$folder"
  start_slurm "$folder"
  sinfo
}

down() {
  local folder name pid
  folder=$(state_folder)
  [ -n "$folder" ] || return 0
  scancel --state=PENDING --state=RUNNING 2>/dev/null || true
  for name in slurmd slurmctld slurmdbd mysql/mariadbd munged; do
    pid=$(cat "$folder/$name.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
  done
  rm -rf "$ETC/slurm.conf" "$ETC/slurmdbd.conf" "$folder"
}

case "${1:-}" in
  up | down) "$1" ;;
  *) fail 'up or down expected' ;;
esac
