// Package image makes what guests boot from: kernels, initramfs archives and
// the probe firmware, all kept in a [Cache] by digest.
//
// A kernel is named by a reference: "host" is the kernel this machine runs,
// "light" the small one that vmlaunch builds from the distribution's kernel
// source, "distro:7.3" the newest kernel package of that version, and anything
// with a slash in it is a file. "" lets the cache choose.
//
// Packages come through the distribution's own package client, with lists,
// state and downloads in the cache: the system's package state is read, never
// written.
package image
