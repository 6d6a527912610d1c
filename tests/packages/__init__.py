"""What installs the gateway: the Debian package and the container image, made and run on a Debian 12 of their own."""
