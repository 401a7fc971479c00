// Package guest is a running guest seen from the host: its readiness, and
// programs run in it by SSH, over a vsock that is opened inside the machine's
// own network namespace. It works with every guest that serves SSH on vsock
// port 22: the built-in one and those with systemd 256 or later.
package guest
