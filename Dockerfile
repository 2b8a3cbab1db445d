# Encore with everything that training, decoding and comparing need.
#
#   docker build -t encore .
#   docker run --rm -v "$PWD:/data" -w /data encore transcribe talk.mp3 --model runs/my_run
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD:/data" -w /data encore serve --model runs/my_run --host 0.0.0.0
#   docker run --rm --gpus all -v "$PWD:/data" -w /data encore train recipes/quickstart.yaml
#
# Not built here: no Docker was at hand.
FROM python:3.11-slim

COPY . /src
RUN pip install --no-cache-dir --constraint /src/constraints.txt "/src[synthetic,export,serve]" \
    && rm -rf /src

ENTRYPOINT ["asr"]
CMD ["--help"]
