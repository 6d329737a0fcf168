// An authorization server that hands out access tokens (JWT, RS256) by client credentials: oidc-provider, which is
// certified for OpenID Connect. node server.mjs PORT JWKS SECONDS SECRET
import { readFileSync } from "node:fs";
import Provider from "oidc-provider";

const [port, jwks, seconds, secret] = process.argv.slice(2);
const audience = "urn:erp";
const jwt = { sign: { alg: "RS256" } };
const token = { scope: "orders", audience, accessTokenTTL: Number(seconds), accessTokenFormat: "jwt", jwt };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: JSON.parse(readFileSync(jwks, "utf8")),
  clients: [
    {
      client_id: "relais",
      client_secret: readFileSync(secret, "utf8").trim(),
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    },
  ],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: () => token,
    },
  },
});
provider.on("client_credentials.issued", () => console.log("issued"));
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
