#!/bin/sh
# image.sh WHEELS NAME [OPTION...]: the container image NAME, by podman, buildah or docker; options are handed to its build.
set -eu
wheels=$1 name=$2
shift 2
for builder in ${BUILDER:-podman buildah docker}; do
    ! command -v "$builder" >/dev/null || break
    builder=
done
[ -n "$builder" ] || { echo "make image needs podman, buildah or docker: apt install buildah" >&2; exit 1; }
case $builder in
docker) health= ;;
*) health=--format=docker ;; # OCI's own format has no place for HEALTHCHECK
esac

context=build/image
rm -rf $context
mkdir -p $context
cp -r packaging etc $context
cp -r "$wheels" $context/wheels
# shellcheck disable=SC2086
"$builder" build $health "$@" -t "$name" -f packaging/Containerfile $context
