package s3store

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// algorithm is the checksum that the store keeps; empty for those it does not.
func (s *Store) algorithm() types.ChecksumAlgorithm {
	switch s.opt.Checksum {
	case checksumCRC64NVME:
		return types.ChecksumAlgorithmCrc64nvme
	case checksumCRC32C:
		return types.ChecksumAlgorithmCrc32c
	case checksumSHA256:
		return types.ChecksumAlgorithmSha256
	}
	return ""
}

func joinChecksum(crc64nvme, crc32c, sha256 *string) string {
	switch {
	case crc64nvme != nil:
		return checksumCRC64NVME + ":" + *crc64nvme
	case crc32c != nil:
		return checksumCRC32C + ":" + *crc32c
	case sha256 != nil:
		return checksumSHA256 + ":" + *sha256
	}
	return ""
}

func splitChecksum(sum string, p *types.CompletedPart) {
	name, value, _ := strings.Cut(sum, ":")
	switch name {
	case checksumCRC64NVME:
		p.ChecksumCRC64NVME = aws.String(value)
	case checksumCRC32C:
		p.ChecksumCRC32C = aws.String(value)
	case checksumSHA256:
		p.ChecksumSHA256 = aws.String(value)
	}
}
