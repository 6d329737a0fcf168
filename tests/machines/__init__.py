"""What tests run on: servers of their own, clusters, certificates, programs of Debian's."""
