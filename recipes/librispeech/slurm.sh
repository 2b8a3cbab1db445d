#!/usr/bin/env bash
# A recipe on two machines of four GPUs each, as one SLURM job that goes on by itself after its time
# limit or a preemption:
#
#   sbatch recipes/librispeech/slurm.sh recipes/librispeech/960h_conformer_l.yaml reuse=probs
#
# Words behind the recipe are overrides. Partition, account and other resources are options of sbatch,
# which go before this file and win over those below. Submit from the folder that holds data/ and runs/,
# on a file system that the machines share, in an environment where `python -m asr` works. The global
# batch grows with the processes: lower train.trainer.accumulate or raise train.optim.peak_lr to match.
#
#SBATCH --job-name=encore
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=6
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -uo pipefail
recipe="${1:?sbatch recipes/librispeech/slurm.sh RECIPE.yaml [overrides]}"
shift

# SIGTERM, five minutes before the end, lets training finish its step, save and exit with 130.
srun python -m asr train "$recipe" \
  train.trainer.num_nodes="$SLURM_NNODES" train.trainer.devices="$SLURM_NTASKS_PER_NODE" \
  "$@" --resume
code=$?
if [[ $code -eq 130 ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
