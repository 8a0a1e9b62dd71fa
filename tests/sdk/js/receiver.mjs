// A receiver of webhooks, as docs/hooks.md shows it: prints one line of JSON for each message that it has verified.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const secrets = process.argv.slice(2);

const server = createServer(async (request, response) => {
  const body = (await request.toArray()).join("");
  const verified = secrets.map((secret) => {
    try {
      return new Webhook(secret).verify(body, request.headers).type;
    } catch (error) {
      return error.name;
    }
  });
  console.log(JSON.stringify({ id: request.headers["webhook-id"], verified }));
  response.writeHead(204).end();
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
