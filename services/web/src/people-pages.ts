import type { Context, Hono } from "hono";
import { type Api, apiFor, ApiRefusal, type Me } from "./api.ts";
import { type Frame, type Html, notice } from "./layout.ts";
import { invitationPage, invitationSignInPage, organizationsPage, outcomeNotice } from "./organizations-page.ts";
import { peopleApi } from "./people-api.ts";
import { invitedPage, peoplePage, removePage } from "./people-page.ts";

type Known = Frame & { readonly me: Me };

export interface PeoplePagesOptions {
  readonly api: Api;
  readonly frameOf: (c: Context) => Frame;
  readonly show: (c: Context, content: Html, status?: 200 | 401 | 403 | 409) => Promise<Response>;
  readonly redirect: (location: string) => Response;
}

const ID = "[A-Za-z0-9_-]{1,64}";

/** Organisations, their people, and invitations. Forms post; what the API refuses is told above the page they came from. */
export function addPeoplePages(app: Hono, { api, frameOf, show, redirect }: PeoplePagesOptions): void {
  const known = async (c: Context): Promise<Known> => ({ ...frameOf(c), me: await apiFor(api, c.req.raw).me() });
  const asks = (c: Context) => peopleApi(api, c.req.raw);
  const outcome = (c: Context): Html | "" => outcomeNotice(frameOf(c), c.req.query("outcome"));

  const organizations = async (c: Context, said: Html | ""): Promise<Html> =>
    organizationsPage(await known(c), await asks(c).organizations(), said);
  const people = async (c: Context, said: Html | ""): Promise<Html> => {
    const ask = asks(c);
    const [frame, members, invitations, notices] = await Promise.all([
      known(c),
      ask.members(),
      ask.invitations(),
      ask.notices(),
    ]);
    return peoplePage(frame, members, invitations, notices, said);
  };
  /** A form: what the API refuses for a reason that people can do something about is said on the page they came from. */
  const form = (
    path: string,
    act: (c: Context) => Promise<string | Response>,
    back: (c: Context, said: Html) => Promise<Html>,
  ): void => {
    app.post(path, async (c) => {
      try {
        const answer = await act(c);
        return typeof answer === "string" ? redirect(answer) : answer;
      } catch (error) {
        const said = error instanceof ApiRefusal ? refusalOf(frameOf(c), error.code) : undefined;
        if (said === undefined) throw error;
        return show(c, await back(c, notice("bad", said)), (error as ApiRefusal).status === 403 ? 403 : 409);
      }
    });
  };

  app.get("/organizations", async (c) => show(c, await organizations(c, outcome(c))));
  form(
    "/organizations",
    async (c) => {
      const { id } = await asks(c).createOrganization(text((await fields(c))["name"]));
      return `/organizations?outcome=created#organization-${id}`;
    },
    organizations,
  );

  app.get("/people", async (c) => show(c, await people(c, outcome(c))));
  // Before the members, whose ids could be any word.
  form(
    "/people/invitations",
    async (c) => {
      const email = text((await fields(c))["email"]);
      // Not a redirect: the link is in no address. Sending the form again ends this invitation and makes another.
      return show(c, invitedPage(await known(c), await asks(c).invite(email, await ticked(c))));
    },
    people,
  );
  form(
    `/people/invitations/:id{${ID}}/revoke`,
    async (c) => {
      await asks(c).revoke(c.req.param("id") ?? "");
      return "/people?outcome=revoked#invitations";
    },
    people,
  );
  form(
    `/people/:userId{${ID}}`,
    async (c) => {
      const id = c.req.param("userId") ?? "";
      await asks(c).setPermissions(id, await ticked(c));
      return `/people?outcome=saved#member-${id}`;
    },
    people,
  );
  app.get(`/people/:userId{${ID}}/remove`, async (c) => {
    const member = (await asks(c).members()).find(({ userId }) => userId === c.req.param("userId"));
    if (member === undefined) throw new ApiRefusal(404, "not_found");
    return show(c, removePage(await known(c), member));
  });
  form(
    `/people/:userId{${ID}}/remove`,
    async (c) => {
      await asks(c).removeMember(c.req.param("userId") ?? "");
      return "/people?outcome=removed";
    },
    people,
  );

  app.get("/invitation", async (c) => {
    const token = tokenIn(c.req.query("token"));
    try {
      return show(c, invitationPage(await known(c), await asks(c).received(token), token));
    } catch (error) {
      if (!(error instanceof ApiRefusal)) throw error;
      if (error.status === 401) return show(c, invitationSignInPage(frameOf(c), token), 401);
      const said = refusalOf(frameOf(c), error.code);
      if (said === undefined) throw error;
      return show(c, await organizations(c, notice("bad", said)), 409);
    }
  });
  form(
    "/invitation",
    async (c) => {
      const { id } = await asks(c).accept(tokenIn((await fields(c))["token"]));
      return `/organizations?outcome=joined#organization-${id}`;
    },
    organizations,
  );
}

const refusalOf = ({ speech }: Frame, code: string): string | undefined =>
  Object.entries(speech.words.people.refused).find(([name]) => name === code)?.[1];

/** A body that is no form has no fields; the API says what is missing. */
const fields = (c: Context): Promise<Record<string, unknown>> =>
  c.req.parseBody({ all: true }).catch((): Record<string, unknown> => ({}));

const ticked = async (c: Context): Promise<string[]> => {
  const { permission } = await fields(c);
  return [permission].flat().filter((one): one is string => typeof one === "string");
};

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const tokenIn = (value: unknown): string => (/^[A-Za-z0-9_-]{1,64}$/.test(text(value)) ? text(value) : "-");
