// Package e2e holds the tests that drive the real vmlaunch binary on a real
// kernel: real namespaces, a real /dev/vhost-vsock and real QEMU guests.
//
// It has tests only. They run inside a nest (see package nest), one test
// binary per kernel, started by `make test`. VMLAUNCH_TEST_NEEDS promises
// what the host offers, so a test that cannot run there fails.
package e2e
