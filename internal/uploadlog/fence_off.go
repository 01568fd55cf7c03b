//go:build nofence

package uploadlog

// fenced is false in a build that exists only so that the fault suite can show
// that it finds what the fence prevents.
const fenced = false
