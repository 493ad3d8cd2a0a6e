# The server of docs/server.md. Build and run it from the repository:
#   docker build -t extd .
#   docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges --memory 4g \
#     --publish 127.0.0.1:8000:8000 extd --queue 32

FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv /opt/extd && /opt/extd/bin/pip install --no-cache-dir '.[serve,heic]'

FROM python:3.13-slim
COPY --from=build /opt/extd /opt/extd
ENV PATH=/opt/extd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65534:65534
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["extd", "serve", "--host", "0.0.0.0"]
