package account

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"flywheel.dev/flywheel/internal/fault"
)

// The cost of one guess, after OWASP's recommendation for argon2id. It stands in each hash, so that
// it can be raised without making old hashes unreadable.
const (
	argonTime    = 2
	argonMemory  = 19 * 1024 // KiB
	argonThreads = 1
)

func hashPassword(password string) string {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	sum := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, 32)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, encode(salt), encode(sum))
}

// passwordFits reports whether password has this hash. An unreadable hash fits no password.
func passwordFits(hash, password string) bool {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil || time == 0 || threads == 0 {
		return false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(want) == 0 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

func checkPassword(password string) error {
	if utf8.RuneCountInString(password) < 10 || len(password) > 200 {
		return fault.New(fault.Invalid, "password.length", "A password has 10 to 200 characters.").
			Do("A sentence is a good one.").At("body.password", "10 to 200 characters")
	}
	return nil
}

// newSecret returns a random secret with a prefix that tells what it is, and the hash to store. The
// secret has 256 bits, so a fast hash protects it.
func newSecret(prefix string) (secret, hash string) {
	random := make([]byte, 32)
	rand.Read(random) // never fails
	secret = prefix + base64.RawURLEncoding.EncodeToString(random)
	return secret, hashSecret(secret)
}

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// newPassword returns a password for a person to type once: 20 letters and digits, about 100 bits,
// without the ones that look alike.
func newPassword() string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789" // 32, so that each byte maps evenly
	random := make([]byte, 20)
	rand.Read(random) // never fails
	var b strings.Builder
	for i, c := range random {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(letters[c%32])
	}
	return b.String()
}
