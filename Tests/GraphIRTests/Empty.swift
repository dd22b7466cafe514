// importer tests
