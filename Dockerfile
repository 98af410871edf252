# The image: one static binary, the CA certificates and nothing else. No shell, no libc, no package manager.
#   just image                                           builds it for both platforms
#   docker buildx build --platform linux/amd64 -t TAG .  by hand; buildah build takes the same
#
# The target `prebuilt` takes what is built beside it instead, where no base image can be pulled (.ci/image):
#   .ci/static release amd64 OUT && buildah build --target prebuilt -f Dockerfile OUT

FROM scratch AS runtime
LABEL org.opencontainers.image.title="node-termination-operator" \
      org.opencontainers.image.description="Makes the end of an EC2 instance harmless for the pods on its node" \
      org.opencontainers.image.licenses="Apache-2.0"
# A number: the kubelet can not tell from a name that it is not root (runAsNonRoot).
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/node-termination-operator"]

FROM runtime AS prebuilt
ARG TARGETARCH
COPY ${TARGETARCH}/ /

# Zig is the C compiler and the linker for either platform, so nothing is emulated. The version is that of
# rust-toolchain.toml; tests/install/documents.rs holds them together.
FROM --platform=$BUILDPLATFORM rust:1.95.0-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG TARGETARCH
RUN .ci/static release "$TARGETARCH" /out

FROM runtime
ARG TARGETARCH
COPY --from=build /out/${TARGETARCH}/ /
