#!/bin/busybox sh
# The first program of the guest: drivers, then the disk.
set -e
PATH=/bin
busybox mount -t devtmpfs dev /dev
for module in /modules/*; do
  busybox insmod "$module"
done
until [ -b /dev/vda ]; do busybox usleep 10000; done
busybox mount -t ext4 -o noatime /dev/vda /root
exec busybox switch_root /root /vm/init
