package redact_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/redact"
)

const pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq1\nQ2hvb3NlIGEgbG9uZ2Vy\n-----END RSA PRIVATE KEY-----\n"

// planted are secrets that have parts, and the parts that must not be seen on their own.
var planted = map[string]struct {
	secret string
	parts  []string
}{
	"a JSON object":                            {`{"user":"svc-app","password":"pl4nt-one","port":5432}`, []string{"svc-app", "pl4nt-one"}},
	"JSON over lines":                          {"{\n  \"client\": {\n    \"secret\": \"pl4nt-two\",\n    \"ids\": [\"pl4nt-three\", 123456789]\n  }\n}\n", []string{"pl4nt-two", "pl4nt-three", "123456789"}},
	"a JSON list":                              {`["pl4nt-one", "pl4nt-two"]`, []string{"pl4nt-one", "pl4nt-two"}},
	"JSON in JSON":                             {`{"credentials":"{\"key\":\"pl4nt-inner\"}"}`, []string{"pl4nt-inner"}},
	"a part with escapes":                      {`{"password":"pl4\"nt\\&<one>"}`, []string{`pl4"nt\&<one>`}},
	"YAML":                                     {"user: svc-app\npassword: \"pl4nt-one\"\nkeys:\n  - pl4nt-two\n  - name: pl4nt-three # the third\n", []string{"svc-app", "pl4nt-one", "pl4nt-two", "pl4nt-three"}},
	"a file of settings":                       {"# for the app\nexport API_KEY=pl4nt-one\nDB_PASSWORD='pl4nt two'\nEMPTY=\n", []string{"pl4nt-one", "pl4nt two"}},
	"an INI file":                              {"[default]\naws_access_key_id = AKIAPLANT\naws_secret_access_key = pl4nt/one+two\n", []string{"AKIAPLANT", "pl4nt/one+two"}},
	"a PEM key":                                {pem, []string{"MIIEpAIBAAKCAQEA7bq1", "Q2hvb3NlIGEgbG9uZ2Vy", "MIIEpAIBAAKCAQEA7bq1Q2hvb3NlIGEgbG9uZ2Vy"}},
	"a PEM key in JSON":                        {`{"private_key":` + quoted(pem) + `}`, []string{"MIIEpAIBAAKCAQEA7bq1", "MIIEpAIBAAKCAQEA7bq1Q2hvb3NlIGEgbG9uZ2Vy"}},
	"a URL":                                    {"postgres://svc-app:pl4nt%2Fone@db.internal:5432/shop?sslmode=disable", []string{"svc-app", "pl4nt%2Fone", "pl4nt/one"}},
	"a URL with a token":                       {"https://hooks.example.com/in?token=pl4nt-one&sig=pl4nt%20two", []string{"pl4nt-one", "pl4nt two"}},
	"a URL in a setting":                       {"DATABASE_URL=mysql://root:pl4nt-one@db/shop", []string{"pl4nt-one", "mysql://root:pl4nt-one@db/shop"}},
	"libpq's connection string":                {"host=db.internal user=svc-app password=pl4nt-one sslmode=disable", []string{"svc-app", "pl4nt-one"}},
	"ADO's connection string":                  {"Server=db.internal;Uid=svc-app;Pwd=pl4nt one;Encrypt=true", []string{"svc-app", "pl4nt"}},
	"Azure's connection string":                {"DefaultEndpointsProtocol=https;AccountName=plantstore;AccountKey=cGw0bnQtb25l+/x==;EndpointSuffix=core.windows.net", []string{"plantstore", "cGw0bnQtb25l+/x=="}},
	"name and password":                        {"svc-app:pl4nt-one", []string{"pl4nt-one"}},
	"base64 of JSON":                           {base64.StdEncoding.EncodeToString([]byte(`{"auths":{"registry":{"auth":"pl4nt-one"}}}`)), []string{"pl4nt-one"}},
	"base64 of settings":                       {base64.StdEncoding.EncodeToString([]byte("KEY=pl4nt-one\nOTHER=pl4nt-two\n")), []string{"pl4nt-one", "pl4nt-two"}},
	"base64 of name and the key":               {base64.RawURLEncoding.EncodeToString([]byte("svc-app:pl4nt-one")), []string{"pl4nt-one"}},
	"texts of JSON after each other":           {"{\"user\":\"svc-app\"}\n{\"password\":\"pl4nt-one\"}\n", []string{"svc-app", "pl4nt-one"}},
	"JSON with a comment and a comma too many": {"{\n  // for the app\n  \"password\": \"pl4nt-one\",\n}", []string{"pl4nt-one"}},
	"YAML on one line":                         {"{user: svc-app, password: pl4nt-one}", []string{"svc-app", "pl4nt-one"}},
	"YAML on one line in YAML":                 {"databases:\n  - shop: {user: svc-app, password: 'pl4nt one'}\nkeys: [pl4nt-two, pl4nt-three]\n", []string{"svc-app", "pl4nt one", "pl4nt-two", "pl4nt-three"}},
	"YAML with types and names in quotes":      {"\"the key\": pl4nt-one\nexample.com/token: !!str pl4nt-two\nother: &x pl4nt-three\n", []string{"pl4nt-one", "pl4nt-two", "pl4nt-three"}},
	"a dictionary of Python":                   {"{'user': 'svc-app', 'password': 'pl4nt-one'}", []string{"svc-app", "pl4nt-one"}},
	"an object of HCL":                         {`db = { user = "svc-app", password = "pl4nt-one" }`, []string{"svc-app", "pl4nt-one"}},
	"XML":                                      {"<db><user>svc-app</user>\n<password>pl4nt&amp;one</password></db>", []string{"svc-app", "pl4nt&amp;one", "pl4nt&one"}},
	"a .netrc":                                 {"machine git.example.com\n  login svc-app password pl4nt-one\n", []string{"svc-app", "pl4nt-one"}},
	"a .npmrc":                                 {"//registry.example.com/:_authToken=pl4nt-one", []string{"pl4nt-one"}},
	"a .pgpass":                                {"db.internal:5432:shop:svc-app:pl4nt-one", []string{"pl4nt-one"}},
	"fields between commas":                    {"AKIAPLANT,pl4nt/one+two", []string{"AKIAPLANT", "pl4nt/one+two"}},
	"a header":                                 {"Authorization: Bearer pl4nt-one", []string{"pl4nt-one"}},
	"a header with name and password":          {`{"header":"Basic ` + base64.StdEncoding.EncodeToString([]byte("svc-app:pl4nt-one")) + `"}`, []string{"pl4nt-one"}},
	"a connection string with a URL":           {"Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=cGw0bnQtb25l+x=", []string{"cGw0bnQtb25l+x="}},
	"a signature beside a URL":                 {"BlobEndpoint=https://shop.blob.core.windows.net/;SharedAccessSignature=sv=2022-11-02&ss=b&sig=pl4nt%2Fone", []string{"pl4nt%2Fone", "pl4nt/one"}},
	"SQL Server's URL":                         {"jdbc:sqlserver://db:1433;user=svc-app;password=pl4nt-one;encrypt=true", []string{"svc-app", "pl4nt-one"}},
	"Oracle's URL":                             {"jdbc:oracle:thin:svc-app/pl4nt-one@db:1521/shop", []string{"pl4nt-one"}},
	"two URLs":                                 {"amqp://svc-app:pl4nt-one@a:5672,amqp://svc-app:pl4nt-two@b:5672", []string{"svc-app", "pl4nt-one", "pl4nt-two"}},
	"a URL with a password as it is":           {"postgres://svc-app:pl4nt/one@db/shop", []string{"pl4nt/one"}},
	"a URL with a fragment":                    {"https://shop.example.com/back#access_token=pl4nt-one&state=pl4nt-two", []string{"pl4nt-one", "pl4nt-two"}},
	"a URL with a key in its path":             {"https://hooks.example.com/in/T01/pl4ntpl4ntpl4ntpl4nt", []string{"pl4ntpl4ntpl4ntpl4nt"}},
	"a form":                                   {"user=svc-app&password=pl4nt%2Fone", []string{"svc-app", "pl4nt/one"}},
}

func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string never fails
	}
	return string(b)
}

func TestThePartsOfASecretAreTakenOutToo(t *testing.T) {
	for name, c := range planted {
		t.Run(name, func(t *testing.T) {
			r := redact.New(c.secret)
			for _, part := range c.parts {
				texts := map[string]string{
					"as it is": "it says " + part + ", and more", "in JSON": `{"x":` + quoted(part) + `}`,
					"in base64": "Basic " + base64.StdEncoding.EncodeToString([]byte("name:"+part+" and more")),
				}
				for how, text := range texts {
					if got := r.Text(text); !strings.Contains(got, redact.Mark) || strings.Contains(got, part) {
						t.Errorf("%q %s became %q", part, how, got)
					}
				}
				// In pieces, as a program writes it.
				var out bytes.Buffer
				w := r.Writer(&out)
				for _, b := range []byte("it says " + part + "\n") {
					if _, err := w.Write([]byte{b}); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := io.WriteString(w, "end"); err != nil || w.Close() != nil || strings.Contains(out.String(), part) {
					t.Errorf("%q in pieces became %q, %v", part, out.String(), err)
				}
			}
			if got := r.Text(c.secret); strings.Contains(got, "pl4nt") {
				t.Errorf("the whole became %q", got)
			}
		})
	}
}

func TestWhatSaysNothingStays(t *testing.T) {
	r := redact.New(`{"enabled":true,"name":null,"port":5432,"ok":"true","day":"2026"}`, "host=db.internal port=5432 sslmode=disable password=pl4nt-one",
		"user: svc-app\npassword: pl4nt-two\n", "IMAGE=https://registry.example.com/team/shop@sha256:0011")
	const text = "true or null, port 5432 of db.internal in 2026: sslmode=disable, user and password and enabled in the shop of the team"
	if got := r.Text(text); got != text {
		t.Error(got)
	}
}

// TestALargeSecretIsBounded has secrets of thousands of lines and levels.
func TestALargeSecretIsBounded(t *testing.T) {
	var settings, nested strings.Builder
	for i := range 20_000 {
		settings.WriteString("KEY_" + strings.Repeat("x", i%7) + "=value-" + strings.Repeat("y", i%5) + quoted(strings.Repeat("z", i%11)) + "\n")
	}
	nested.WriteString(strings.Repeat("[", 5000) + `"pl4nt-one"` + strings.Repeat("]", 5000))
	deep := "pl4nt-deep"
	for range 12 {
		deep = `{"x":` + quoted(deep) + `}`
	}
	r := redact.New(settings.String(), nested.String(), deep)
	if got := r.Text("pl4nt-one"); got != redact.Mark {
		t.Error(got)
	}
}
