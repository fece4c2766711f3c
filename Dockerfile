# The platform as an image: the same for the gateway and for workers, which differ in the command.
#   docker build -t luthier .
FROM python:3.11-slim-bookworm

# bubblewrap holds Python graders; without it they are refused.
RUN apt-get update && apt-get install --yes --no-install-recommends bubblewrap && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/luthier
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir --requirement requirements.lock && pip install --no-cache-dir --no-deps .

RUN useradd --create-home --uid 10001 luthier && mkdir /data && chown luthier /data
USER luthier
ENV LUTHIER_HOME=/data HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
VOLUME /data
EXPOSE 8321
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8321/healthz', timeout=3)"]
ENTRYPOINT ["luthier"]
CMD ["serve", "--host", "0.0.0.0", "--no-worker"]
