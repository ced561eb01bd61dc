// Opens the documentation in ReDoc. Its search wants a worker from a blob, which the policy refuses.
const docs = document.getElementById("docs");
Redoc.init(docs.dataset.schema, { disableSearch: true }, docs);
