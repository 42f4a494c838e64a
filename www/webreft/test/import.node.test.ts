import { expect, test } from "vitest";

test("importing the package in Node touches no browser global", async () => {
  const webreft = await import("webreft");
  expect(webreft.WebReftError).toBeTypeOf("function");
});
