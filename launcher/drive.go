package launcher

import (
	"encoding/json"
	"fmt"

	"github.com/vmlaunch/vmlaunch/configs"
)

// A Layer is one file of a drive.
type Layer struct {
	Path, Format string
	Device       bool // a block device
}

// A Drive is a disk as QEMU has it: the files that it is made of, and how it hangs
// on the machine.
type Drive struct {
	Node     string  // name of its block node in QEMU, of letters, digits and -
	Layers   []Layer // the one that is written first, then those below it
	ReadOnly bool
	Bus      string // configs.BusVirtioBlk or BusVirtioSCSI
	Serial   string
	// Boot is the drive's place in the firmware's order, from 1; 0 is not booted.
	Boot int
	// Volatile is for what nobody wants after a crash of the host: the guest's
	// flushes go nowhere.
	Volatile bool
}

// nodeMachine is the node of the disk that a disk guest boots.
const nodeMachine = "disk"

// nodeCode and nodeVars are the nodes of a firmware.
const nodeCode, nodeVars = "firmware", "nvram"

// nodeExtra is the node of the i-th disk besides that one.
func nodeExtra(i int) string { return fmt.Sprintf("disk%d", i+1) }

// scsiBus is the id of the controller that all SCSI disks hang on.
const scsiBus = "scsi"

// blockNode is a node of QEMU's block layer: an image format with its file, or
// such a file. See BlockdevOptions in qapi/block-core.json of its source.
type blockNode struct {
	Driver   string     `json:"driver"`
	Node     string     `json:"node-name,omitempty"`
	ReadOnly bool       `json:"read-only,omitempty"`
	Discard  string     `json:"discard,omitempty"`
	Cache    *nodeCache `json:"cache,omitempty"`
	Filename string     `json:"filename,omitempty"` // of a file
	File     *blockNode `json:"file,omitempty"`     // of a format
	// Backing is the node below a qcow2 image. Where there is none it has to be
	// said, or QEMU opens what the image names.
	Backing json.RawMessage `json:"backing,omitempty"`
}

type nodeCache struct {
	NoFlush bool `json:"no-flush"`
}

// node returns the block node of the drive. Its cache is the host's page cache,
// written back, with the guest's flushes obeyed: QEMU's default, which any file
// system can do.
func (d Drive) node() blockNode {
	var below json.RawMessage
	for i := len(d.Layers) - 1; i > 0; i-- {
		n := layerNode(d.Layers[i], below)
		n.ReadOnly = true
		below = text(n)
	}
	// What is said of this one holds for its file too.
	top := layerNode(d.Layers[0], below)
	top.Node, top.ReadOnly, top.Discard = d.Node, d.ReadOnly, "unmap"
	if d.Volatile {
		top.Cache = &nodeCache{NoFlush: true}
	}
	return top
}

func layerNode(l Layer, below json.RawMessage) blockNode {
	driver := "file"
	if l.Device {
		driver = "host_device"
	}
	n := blockNode{Driver: l.Format, File: &blockNode{Driver: driver, Filename: l.Path}}
	if l.Format == configs.FormatQCOW2 {
		if below == nil {
			below = json.RawMessage("null")
		}
		n.Backing = below
	}
	return n
}

// driveDevice is the device that a guest sees a drive by; see
// hw/block/virtio-blk.c and hw/scsi/scsi-disk.c in QEMU's source.
type driveDevice struct {
	Driver string `json:"driver"`
	ID     string `json:"id"`
	Bus    string `json:"bus,omitempty"`
	Drive  string `json:"drive"`
	Serial string `json:"serial,omitempty"`
	Boot   int    `json:"bootindex,omitempty"`
}

func (d Drive) device() driveDevice {
	dev := driveDevice{Driver: "virtio-blk-pci", ID: "dev-" + d.Node, Drive: d.Node, Serial: d.Serial, Boot: d.Boot}
	if d.Bus == configs.BusVirtioSCSI {
		dev.Driver, dev.Bus = "scsi-hd", scsiBus+".0"
	}
	return dev
}

// driveArgs returns the arguments for drives, in their order: the guest numbers
// its disks by it.
func driveArgs(drives []Drive) []string {
	var args []string
	scsi := false
	for _, d := range drives {
		args = append(args, "-blockdev", string(text(d.node())))
		if d.Bus == configs.BusVirtioSCSI && !scsi {
			scsi = true
			args = append(args, "-device", string(text(struct {
				Driver string `json:"driver"`
				ID     string `json:"id"`
			}{"virtio-scsi-pci", scsiBus})))
		}
		args = append(args, "-device", string(text(d.device())))
	}
	return args
}

// flashArgs returns the arguments for the flash devices of a firmware.
func flashArgs(flash []Drive) []string {
	var args []string
	for i, d := range flash {
		args = append(args, "-blockdev", string(text(d.node())), "-machine", fmt.Sprintf("pflash%d=%s", i, d.Node))
	}
	return args
}

// text returns v, which is of strings, numbers and the like, as JSON.
func text(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) //nolint:forbidigo // nothing in it can fail
	}
	return b
}
