#!/usr/bin/env bash
# A recipe on two machines of four GPUs each, as one SLURM job that goes on by itself after its time
# limit or a preemption:
#
#   sbatch recipes/librispeech/slurm.sh recipes/librispeech/960h_conformer_l.yaml reuse=probs
#
# Words behind the recipe are overrides. Partition, account and other resources are options of sbatch,
# which go before this file and win over those below. Submit from the folder that holds data/ and runs/,
# on a file system that the machines share, in an environment where `python -m asr` works.
#
# The learning rates of the recipes are for the audio of one step, so more devices take a smaller part of
# it each: data.batching.max_duration_s x train.trainer.accumulate, on so many devices in all,
#
#   recipe                                1        2        4        8
#   100h_conformer_s                  600x2    600x1    300x1    150x1
#   100h_conformer_m                  340x4    340x2    340x1    170x1
#   100h_conformer_m_hybrid           340x4    340x2    340x1    170x1
#   100h_conformer_m_streaming        340x4    340x2    340x1    170x1
#   100h_conformer_m_transducer       170x8    170x4    170x2    170x1
#   960h_conformer_s                  600x4    600x2    600x1    300x1
#   960h_conformer_m                  280x8    280x4    280x2    280x1
#   960h_conformer_m_hybrid           280x8    280x4    280x2    280x1
#   960h_conformer_m_streaming        280x8    280x4    280x2    280x1
#   960h_conformer_m_transducer      140x16    140x8    140x4    140x2
#   960h_conformer_l                  300x8    300x4    300x2    300x1
#   960h_transformer                  300x8    300x4    300x2    300x1
#
# where a halved batch also makes room in memory. If a step is to grow instead, by a factor of k, multiply
# train.optim.peak_lr by the square root of k (the rule for Adam: Malladi et al. 2022); there are then k
# times fewer steps, and the warm-up, a share of them, stays. Differences of that size move WER by a few
# tenths: compare reuse schedules at one setting only. The settings below are for eight:
#
#   sbatch recipes/librispeech/slurm.sh recipes/librispeech/960h_conformer_l.yaml train.trainer.accumulate=1
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
