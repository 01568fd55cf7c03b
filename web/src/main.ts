document.body.append('Tapedeck');
