# syntax=docker/dockerfile:1
# The image of kube-ipvs, for several architectures at once:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=$(git describe --tags --always) -t REGISTRY/kube-ipvs:TAG --push .
#
# Nothing of the other architecture is run: Go compiles for it, and the packages
# are only unpacked. What the image holds is said by cmd/image/packages;
# make image-rootfs makes the same files without a container engine.

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d AS build
ARG TARGETARCH
ARG VERSION=devel
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X main.version=$VERSION" -o /out/kube-ipvs ./cmd/kube-ipvs
# Debian calls the ARM of TARGETARCH arm (version 7) armhf; the others have the same name.
RUN apt-get update && \
    SOURCE_DATE_EPOCH=0 cmd/image/rootfs /out/kube-ipvs /out/root "$(echo $TARGETARCH | sed 's/^arm$/armhf/; s/^ppc64le$/ppc64el/')" && \
    go run ./cmd/image/sbom /out/root "$VERSION" >/out/sbom.spdx.json

# docker buildx build --target sbom -o out . writes it to out/sbom.spdx.json.
FROM scratch AS sbom
COPY --from=build /out/sbom.spdx.json /

FROM scratch
ARG VERSION=devel
ARG REVISION=
LABEL org.opencontainers.image.title="kube-ipvs" \
      org.opencontainers.image.description="IPVS service proxy for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="scratch"
COPY --from=build /out/root /
COPY --from=build /out/sbom.spdx.json /usr/share/sbom/kube-ipvs.spdx.json
ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin
# Root, with the capabilities that the container is given and no others: those of
# other users are lost when a program is started, and Kubernetes cannot keep them.
USER 0:0
ENTRYPOINT ["/kube-ipvs"]
CMD ["run"]
