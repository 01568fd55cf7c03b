package faults

import "fmt"

// A step is one write of a service's commits, where it can be made to fail.
type step struct {
	program string // slicer or completer
	name    string // of the failpoint, without before and after
	what    string // what a crash between the write and the next leaves
	write   bool   // it can be refused, and its reply lost
	scene   scene  // how it is brought about
}

// A scene is what has to happen for a step to be reached, beside sessions.
type scene int

const (
	plain   scene = iota
	leaving       // the slicer is told to stop
	trimmed       // events are kept for a second only
	forgot        // S3 forgets an upload between the end of the session and its completion
)

// checkpoint is the step that only a session is in the way of that stays open.
const checkpoint = "log/checkpoint"

// steps are all of them, in the order in which they happen.
var steps = []step{
	{"slicer", "log/claim", "a lease of a member that is gone; any other claims after it", true, plain},
	{"slicer", "slicer/load", "the same", false, plain},
	{"slicer", "slicer/create-upload", "an upload that no log knows and that holds nothing", false, plain},
	{"slicer", "log/base", "part numbers that stay unused", true, plain},
	{"slicer", "slicer/put-part", "a part that no log lists; S3 drops it at completion", false, plain},
	{"slicer", checkpoint, "a checkpoint that the next owner goes on from", true, plain},
	{"slicer", "log/part", "a committed part; the next owner goes on after it", true, plain},
	{"slicer", "slicer/put-late", "an object under .late that is written once more", false, plain},
	{"slicer", "log/ended", "an ended session; the completer has it", true, plain},
	{"slicer", "log/cursor", "nothing: a little is read again", true, plain},
	{"slicer", "log/delete", "records too many, which the completer deletes", true, plain},
	{"slicer", "slicer/trim", "nothing: the next owner trims on", true, trimmed},
	{"slicer", "log/release", "a free lease, or one of a member that is gone", true, leaving},
	{"completer", "completer/complete", "the finished object, known by its nonce", false, plain},
	{"completer", "completer/manifest", "a manifest that is written once more, the same bytes", false, plain},
	{"completer", "log/completed", "a completed session that is still to be told of", true, plain},
	{"completer", "completer/publish tapedeck.audit.session.upload", "an event that comes again with the same id", true, plain},
	{"completer", "completer/publish tapedeck.notify.recording.completed", "a notification that comes again with the same id", true, plain},
	{"completer", "log/notified", "a log that is still to be shortened", true, plain},
	{"completer", "completer/shrink", "the same", true, plain},
	{"completer", "log/notified-ttl", "one record too many", true, plain},
	{"completer", "completer/delete", "nothing", true, plain},
	{"completer", "completer/upload-anew", "an upload that no log knows, which goes with the orphans", false, forgot},
	{"completer", "completer/put-anew", "the same, with parts", false, forgot},
}

// Faults that stop a process just before a write.
const (
	stopped = "stop before"              // until another has done everything
	wakes   = "stop before, wakes early" // until another has taken over
)

// A Row is one fault at one step.
type Row struct {
	step
	Fault string // crash before, crash after, stop before, refused, reply lost
	spec  string // for the failpoint package

	operation string // of S3, if the fault is the proxy's
	trouble   Trouble
}

// Name tells rows apart.
func (r Row) Name() string {
	if r.operation != "" {
		return fmt.Sprintf("S3 %s: %s", r.operation, r.trouble)
	}
	return fmt.Sprintf("%s %s: %s", r.program, r.name, r.Fault)
}

// Rows are all rows of the table.
func Rows() []Row {
	var rows []Row
	for _, s := range steps {
		add := func(fault, point, action string) {
			rows = append(rows, Row{step: s, Fault: fault, spec: point + "=" + action})
		}
		add("crash before", s.name+"/before", "crash")
		add("crash after", s.name+"/after", "crash")
		add(stopped, s.name+"/before", "stop")
		if s.program == "slicer" && s.write && s.scene == plain {
			add(wakes, s.name+"/before", "stop")
		}
		if s.write {
			add("refused", s.name, "refuse")
			add("reply lost", s.name, "lose")
		}
	}
	for _, op := range []string{"create", "part", "late", "complete", "manifest"} {
		for _, t := range Troubles {
			if (t == Error200 || t == Lost200) && op != "complete" {
				continue
			}
			rows = append(rows, Row{operation: op, trouble: t, Fault: string(t)})
		}
	}
	return rows
}
