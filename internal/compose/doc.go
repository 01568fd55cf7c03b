// Package compose tests what lies in deploy/compose: that the servers and Compose take
// the files, that each role can do all that it must and nothing else with the user
// that nats/users.conf gives it, and, with a Docker engine, that the stack loses
// nothing while its parts are stopped. The programs below it go into images.
package compose
