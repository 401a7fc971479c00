package configs

// A Guest is which kind of guest a machine has: what it is booted by, and which
// way leads into it.
type Guest string

// The kinds of guest, as [Machine.Guest] tells them.
const (
	GuestLinux Guest = "linux" // built in: the agent is its init, so it tells when it is ready, and has SSH
	GuestProbe Guest = "probe" // built in: it tells when it is ready, and has a control port instead of SSH
	GuestDisk  Guest = "disk"  // whatever a disk image holds: nothing of ours need be in it
)

// Guest returns which kind of guest the image is. What is neither of the two
// built-in ones is a disk image.
func (m Machine) Guest() Guest {
	switch m.Image {
	case ImageProbe:
		return GuestProbe
	case ImageLinux, "":
		return GuestLinux
	}
	return GuestDisk
}
