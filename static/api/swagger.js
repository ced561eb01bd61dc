// Opens the documentation in Swagger UI; "Authorize" takes a key or an access token and keeps it in the page only.
SwaggerUIBundle({
  url: document.getElementById("docs").dataset.schema,
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: "list",
  persistAuthorization: false,
});
